//! What `setup` did and what `check` found, in the adapters' words.

/// One step of a setup.
#[derive(Clone, Debug)]
pub struct Step {
    /// What was set up.
    pub name: String,
    /// Whether anything was done.
    pub done: Done,
    /// What was done or found, for people.
    pub detail: String,
}

/// Whether a step did anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was right.
    Unchanged,
    /// It was not there.
    Created,
    /// It was not right.
    Changed,
}

/// One finding of a check.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was looked at: a queue, a table, or an IAM action on one.
    pub name: String,
    /// Whether it is right.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// How to mend it, where it is not right.
    pub remedy: Option<String>,
}

impl Step {
    /// What was done.
    pub fn new(name: impl Into<String>, done: Done, detail: impl Into<String>) -> Self {
        Self { name: name.into(), done, detail: detail.into() }
    }
}

impl Finding {
    /// It is right.
    pub fn good(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok: true, detail: detail.into(), remedy: None }
    }

    /// It is not right; how to mend it.
    pub fn bad(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), ok: false, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}
