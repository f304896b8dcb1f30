//! Tests of downloads from the hub that fail, are interrupted, or come in chunks.

use super::*;

/// Checks that a failed download is reported with a remedy, and that a mistyped folder sends no request.
#[test]
fn failed_downloads_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = Hub::start();
    hub.serve_bytes("tester/pickled", "pytorch_model.bin", b"\x80\x02");
    let shape = r#"{"model_type": "gemma", "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8, "rms_norm_eps": 1e-5}"#;
    hub.serve_bytes("tester/gemma", "config.json", shape.as_bytes());
    hub.serve_bytes("tester/gemma", "model.safetensors", b"large");
    hub.serve_bytes("secret/model", "config.json", b"{}");
    let generate = |name: &str| {
        let mut command = hub.polymath(at);
        command.args(["generate", name]);
        command
    };
    let refused = |command: &mut Command, message: &str| {
        command.assert().failure().stderr(contains(message));
    };
    refused(
        &mut generate("tester/absent"),
        "there is no folder `tester/absent` here, and",
    );
    refused(
        &mut generate("tester/absent"),
        "check the name; a private one needs `HF_TOKEN`",
    );
    hub.trouble("tester/gemma/tree", Trouble::Status("403 Forbidden"), 1);
    refused(&mut generate("tester/gemma"), "ask for access on its page");
    refused(&mut generate("tester/pickled"), "safe_serialization=True");
    refused(&mut generate("tester/gemma"), "`model_type` = `gemma`");
    let fetched = hub.downloads().join(" ");
    assert!(
        !fetched.contains(".bin") && !fetched.contains("safetensors"),
        "{fetched}"
    );
    refused(
        &mut generate("tester/pickled@v9"),
        "name a branch, tag or commit",
    );
    refused(&mut generate("secret/model"), "HF_TOKEN");
    // With the token the repository can be read, so that the missing file is reported instead.
    refused(
        generate("secret/model").env("HF_TOKEN", PRIVATE_TOKEN),
        "no `config.json` with",
    );
    refused(
        generate("tester/tiny").env("HF_HUB_OFFLINE", "1"),
        "`HF_HUB_OFFLINE` forbids",
    );

    let asked = hub.requests();
    std::fs::create_dir(at.join("runs")).unwrap();
    refused(
        &mut generate("runs/mistyped"),
        "`runs/mistyped`: is not there",
    );
    assert_eq!(
        hub.requests(),
        asked,
        "a folder's name is not sent anywhere"
    );
}

/// Checks that failed transfers are retried or reported, and that no part is downloaded twice, in this run or a later
/// one.
#[test]
fn interrupted_downloads_resume() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = hub_with_base(at);
    let large = "GET /cdn/tester/tiny//model.safetensors";
    let with_home = |home: &str, name: &str| {
        let mut command = hub.polymath(at);
        command.env("HF_HOME", at.join(home));
        command.args(["generate", name, "--prompt", "1 2", "--max-tokens", "5"]);
        command
    };
    let expected = output(fixture::polymath(at).args([
        "generate",
        "runs/base",
        "--prompt",
        "1 2",
        "--max-tokens",
        "5",
    ]));

    // One broken connection, then error responses for a while.
    hub.trouble(large, Trouble::Cut(1000), 1);
    hub.trouble(
        "GET /api/models/tester/tiny/tree",
        Trouble::Status("503 Service Unavailable"),
        2,
    );
    hub.trouble(
        "HEAD /tester/tiny",
        Trouble::Status("429 Too Many Requests"),
        1,
    );
    assert_eq!(output(&mut with_home("cut-once", "tester/tiny")), expected);
    assert_eq!(hub.ranges().len(), 1);
    assert!(
        hub.ranges()[0].starts_with("bytes=1000-"),
        "{:?}",
        hub.ranges()
    );

    // A run that gives up leaves its partial download to the next one.
    hub.trouble(large, Trouble::Cut(2000), 100);
    let mut stopped = with_home("cut-off", "tester/tiny");
    stopped
        .assert()
        .failure()
        .stderr(contains("run the command again"));
    hub.repair();
    let asked = hub.ranges().len();
    assert_eq!(output(&mut with_home("cut-off", "tester/tiny")), expected);
    let ranges = &hub.ranges()[asked..];
    assert!(
        ranges.len() == 1 && ranges[0].starts_with("bytes=2000-"),
        "{ranges:?}"
    );

    // The page of an error response is never taken for the file.
    hub.trouble(large, Trouble::Status("429 Too Many Requests"), 100);
    let mut limited = with_home("limited", "tester/tiny");
    limited.assert().failure().stderr(contains("wait a while"));
    hub.repair();
    assert_eq!(output(&mut with_home("limited", "tester/tiny")), expected);

    // The previous name of a repository leads to its current name.
    hub.rename("formerly/small", "tester/tiny");
    assert_eq!(
        output(&mut with_home("renamed", "formerly/small")),
        expected
    );
}

/// Checks that downloads from the chunked store resume: the partial download of a killed run is kept, even if the
/// next run fails again. The store's client itself would start from the beginning.
#[test]
fn downloads_from_the_chunked_store_resume() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let hub = hub_with_base(at);
    hub.keep_in_chunks("tester/tiny");
    let weights = std::fs::read(at.join("runs/base/best/model.safetensors")).unwrap();
    let generate = ["--prompt", "1 2", "--max-tokens", "5"];
    let expected = output(
        fixture::polymath(at)
            .args(["generate", "runs/base"])
            .args(generate),
    );
    let with_home = |home: &str| {
        let mut command = hub.polymath(at);
        // By default, the store's client retries five times and waits seconds, then minutes.
        command
            .env("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "1")
            .env("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
            .env("HF_HOME", at.join(home))
            .args(["generate", "tester/tiny"])
            .args(generate);
        command
    };
    assert_eq!(output(&mut with_home("whole")), expected);
    assert!(hub.count("GET /cas/chunks/") > 1, "out of the store");

    // Files that a killed run leaves behind.
    let blobs = |home: &str| at.join(home).join("hub/models--tester--tiny/blobs");
    let whole = std::fs::read_dir(blobs("whole")).unwrap();
    let mut whole = whole.map(|entry| entry.unwrap().path());
    let blob = whole
        .find(|path| std::fs::read(path).unwrap() == weights)
        .expect("the weights in the cache");
    let tag = blob.file_name().unwrap().to_str().unwrap();
    std::fs::create_dir_all(blobs("killed")).unwrap();
    let arrived = blobs("killed").join(format!("{tag}.incomplete"));
    std::fs::write(&arrived, &weights[..2500]).unwrap();

    let broken = Trouble::Status("503 Service Unavailable");
    hub.trouble("GET /cas/chunks/", broken, 100);
    hub.trouble("GET /cdn/", broken, 100);
    with_home("killed").assert().failure();
    hub.repair();
    let kept = std::fs::read(&arrived).unwrap();
    assert!(kept.len() >= 2500 && weights.starts_with(&kept));
    let asked = hub.ranges().len();
    assert_eq!(output(&mut with_home("killed")), expected);
    let ranges = &hub.ranges()[asked..];
    let first = format!("bytes={}-", kept.len());
    assert!(ranges[0].starts_with(&first), "{ranges:?}");
}
