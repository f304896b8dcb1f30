//! Setting of Candle's own thread pool, which would compete with the fused kernels for cores.

/// Keeps Candle's element-wise operations on the calling thread, unless the user has set `CANDLE_NUM_THREADS`.
///
/// Candle has a second pool of threads for these operations. Its threads spin while they wait and take the cores from
/// the fused kernels. Call this first in a program: once another thread runs, it does nothing. The number of threads
/// is known on Linux only; on other systems, set the variable yourself.
pub fn quiet_candle_threads() {
    const VARIABLE: &str = "CANDLE_NUM_THREADS";
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if alone && std::env::var_os(VARIABLE).is_none() {
        // SAFETY: the process has only this thread, so that no other can read the environment meanwhile.
        unsafe { std::env::set_var(VARIABLE, "1") };
    }
}
