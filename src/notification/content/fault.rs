//! Where something is wrong, and the list of all that is.

use std::borrow::Cow;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Fault {
    /// JSON pointer (RFC 6901) into the notification.
    pub pointer: String,
    /// In words for the producer. Never repeats the value: it may be an address.
    pub detail: String,
}

/// A list of faults longer than this says nothing more, and its answer would be larger than the question.
const MOST_FAULTS: usize = 100;

/// A field name comes from outside; a longer one is cut in its pointer.
const MOST_NAME_CHARACTERS: usize = 200;

/// A place in the document. Becomes text only when there is a fault to report.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Index(usize),
}

impl At<'_> {
    /// The document itself.
    pub(super) const ROOT: At<'static> = At { parent: None, step: Step::Root };

    /// The field `name` of the object here.
    pub(super) fn field<'a>(&'a self, name: &'a str) -> At<'a> {
        At { parent: Some(self), step: Step::Field(name) }
    }

    /// The entry `index` of the list here.
    pub(super) fn index(&self, index: usize) -> At<'_> {
        At { parent: Some(self), step: Step::Index(index) }
    }

    fn pointer(&self) -> String {
        let mut text = self.parent.map(At::pointer).unwrap_or_default();
        match self.step {
            Step::Root => {}
            Step::Field(name) => {
                text.push('/');
                for c in name.chars().take(MOST_NAME_CHARACTERS) {
                    match c {
                        '~' => text.push_str("~0"),
                        '/' => text.push_str("~1"),
                        c => text.push(c),
                    }
                }
                if name.chars().nth(MOST_NAME_CHARACTERS).is_some() {
                    text.push('…');
                }
            }
            Step::Index(index) => {
                text.push('/');
                text.push_str(&index.to_string());
            }
        }
        text
    }
}

/// Every fault found so far, up to a hundred.
#[derive(Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
}

impl Faults {
    /// Notes a fault. `detail` must not hold anything that was in the document.
    pub(super) fn add(&mut self, at: &At<'_>, detail: impl Into<Cow<'static, str>>) {
        match self.list.len().cmp(&MOST_FAULTS) {
            std::cmp::Ordering::Less => {
                self.list.push(Fault { pointer: at.pointer(), detail: detail.into().into_owned() });
            }
            std::cmp::Ordering::Equal => {
                let detail = format!("has further faults; the first {MOST_FAULTS} are listed");
                self.list.push(Fault { pointer: String::new(), detail });
            }
            std::cmp::Ordering::Greater => {}
        }
    }

    /// All of them, in the order of the walk.
    pub(super) fn into_list(self) -> Vec<Fault> {
        self.list
    }

    /// A single fault of the document as a whole.
    pub(super) fn whole(detail: impl Into<Cow<'static, str>>) -> Vec<Fault> {
        let mut faults = Self::default();
        faults.add(&At::ROOT, detail);
        faults.list
    }
}
