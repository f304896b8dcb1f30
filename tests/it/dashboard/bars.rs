//! Test of the progress bars on a terminal.

use super::Session;
use crate::support::fixture::prepare;

/// Checks that the bars of generating text, training and scoring are drawn, and that none of them is left on the
/// screen.
#[test]
fn bars_leave_nothing_on_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    prepare(at);
    let arguments = [
        "finetune",
        "finetune.toml",
        "training.steps=4",
        "retention.replay.source=self",
        "retention.replay.tokens=3000",
        "retention.replay.share=0.3",
    ];
    let mut session = Session::start_plain(at, &arguments);
    assert_eq!(session.child.wait().unwrap().exit_code(), 0);
    session.wait_for("4 steps done");
    session.wait_for("next: ");
    let screen = session.screen();
    let drawn = String::from_utf8_lossy(&session.seen.lock().unwrap().bytes).into_owned();
    for bar in ["generating text", "step 4/4"] {
        assert!(drawn.contains(bar), "no `{bar}`: {drawn}");
    }
    for left in ["generating text ", "━", "╸", "0s left", "step 4/4"] {
        assert!(!screen.contains(left), "`{left}` is left: {screen}");
    }
    assert!(screen.contains("held-out bits per byte: asked"), "{screen}");
}
