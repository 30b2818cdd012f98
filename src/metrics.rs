//! Names of every metric, and the recorder that renders them as Prometheus text.
