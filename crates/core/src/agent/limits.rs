//! For how long a member's mind waits for what, before it says or does something else.

use crate::time::Span;

/// A server that answers nothing for this long is hung. Shorter is a busy disk.
pub const HUNG_AFTER: Span = Span::secs(5);
/// A server that was started and never came up in this time is hung.
pub const START_MAX: Span = Span::secs(60);
/// First wait after a call that failed, doubled for each further one in a row.
pub const RETRY_STEP: Span = Span::millis(500);
/// The same, where another's work is waited for.
pub const RETRY_SOON: Span = Span::millis(50);
/// Longest such wait.
pub const RETRY_MAX: Span = Span::secs(30);
/// A call that takes longer is told of.
pub const CALL_LONG: Span = Span::secs(30);
