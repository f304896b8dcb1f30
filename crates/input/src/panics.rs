//! Catching of panics in libraries that read untrusted files.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Calls `work` and returns its result, or `None` if it panics. The panic is not printed to stderr, since the caller
/// reports the error. This is for libraries that trust parts of a file and offer no validation. After a panic, the
/// caller must drop all values that the library has built.
///
/// ```
/// assert_eq!(polymath_input::catch_panic(|| 3), Some(3));
/// assert_eq!(polymath_input::catch_panic(|| [0; 2][std::env::args().count() + 2]), None);
/// ```
pub fn catch_panic<T>(work: impl FnOnce() -> T) -> Option<T> {
    thread_local! {
        static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                before(panic);
            }
        }));
    });
    let was_quiet = IS_QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    IS_QUIET.set(was_quiet);
    result.ok()
}
