//! Bits per byte per domain, paired statistics, the forgetting report.
