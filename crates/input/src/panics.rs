//! Panics of libraries that read what others wrote.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// Calls `work`; `None` where it panics. The panic is not reported on stderr: the caller says what was wrong. For a
/// library that takes parts of a file for granted and has no check to call before; what it built is to be dropped.
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
