//! Code of others that we run on behalf of somebody else.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `act`, whose panic ends here: whoever happens to run it must not pay for it. The panic
/// hook has told of it by then.
pub(crate) fn contain(act: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(act)) {
        // Dropping a payload may panic once more.
        std::mem::forget(payload);
    }
}
