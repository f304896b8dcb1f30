//! Setting of Candle's own threads, which would compete with ours.

/// Keeps Candle's element-wise operations on the calling thread, unless the user has set `CANDLE_NUM_THREADS`.
///
/// Candle has a second pool of threads for them, which spin while they wait and take the cores from the fused kernels.
/// To be called first in a program, before anything starts a thread: later it does nothing. It knows on Linux only
/// whether that is so; elsewhere, set the variable.
pub fn calm_candle() {
    const VARIABLE: &str = "CANDLE_NUM_THREADS";
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if alone && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the process has no thread but this one, so that nobody reads the environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}
