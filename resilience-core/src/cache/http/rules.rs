use http::{HeaderName, StatusCode};

/// What a layer may store, and by what it tells requests apart.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// Fields that tell requests apart.
    pub(super) vary: Vec<HeaderName>,
    /// Fields that the service sees, and that tell nothing apart.
    pub(super) pass: Vec<HeaderName>,
    pub(super) statuses: Vec<StatusCode>,
    pub(super) max_body: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            vary: Vec::new(),
            pass: Vec::new(),
            statuses: vec![
                StatusCode::OK,
                StatusCode::NON_AUTHORITATIVE_INFORMATION,
                StatusCode::MULTIPLE_CHOICES,
                StatusCode::MOVED_PERMANENTLY,
                StatusCode::NOT_FOUND,
                StatusCode::GONE,
            ],
            max_body: 256 * 1024,
        }
    }
}
