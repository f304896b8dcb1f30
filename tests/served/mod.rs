//! A server on loopback that speaks as much of the hub's HTTP as its client asks for.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// The one commit that every repository has, which `main` means.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What opens the repositories of the owner `secret`.
pub const PRIVATE_TOKEN: &str = "hf_of_the_tests";

#[derive(Default)]
struct Shelf {
    /// By repository (`owner/name` or `datasets/owner/name`) and path.
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Method and path of every request.
    requests: Vec<String>,
}

/// A running server; it ends with the process.
pub struct Hub {
    port: u16,
    shelf: Arc<Mutex<Shelf>>,
}

impl Hub {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shelf = Arc::<Mutex<Shelf>>::default();
        let shared = shelf.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shelf = shared.clone();
                // A client that leaves early is its own affair.
                std::thread::spawn(move || answer(stream, &shelf).unwrap_or_default());
            }
        });
        Self { port, shelf }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn serve_bytes(&self, repository: &str, path: &str, bytes: &[u8]) {
        let mut shelf = self.shelf.lock().unwrap();
        let files = shelf.files.entry(repository.into()).or_default();
        files.insert(path.into(), bytes.into());
    }

    pub fn serve_folder(&self, repository: &str, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            self.serve_bytes(repository, &name, &std::fs::read(&path).unwrap());
        }
    }

    /// How many requests have come.
    pub fn requests(&self) -> usize {
        self.shelf.lock().unwrap().requests.len()
    }

    /// The paths whose content was sent.
    pub fn downloads(&self) -> Vec<String> {
        let shelf = self.shelf.lock().unwrap();
        let sent = shelf.requests.iter().filter_map(|request| {
            let path = request.strip_prefix("GET ")?;
            path.contains("/resolve/").then(|| path.to_owned())
        });
        sent.collect()
    }
}

fn answer(mut stream: TcpStream, shelf: &Mutex<Shelf>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut words = request.split(' ');
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut token = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            token = Some(value.to_owned());
        }
    }
    let path = target.split('?').next().unwrap_or_default();
    let mut shelf = shelf.lock().unwrap();
    shelf.requests.push(format!("{method} {path}"));
    let (status, headers, body) = respond(&shelf, path, token.as_deref());
    drop(shelf);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    )?;
    if method != "HEAD" {
        stream.write_all(&body)?;
    }
    stream.flush()
}

/// Status line, further headers, body.
fn respond(shelf: &Shelf, path: &str, token: Option<&str>) -> (&'static str, String, Vec<u8>) {
    let error = |status, code: &str| (status, format!("X-Error-Code: {code}\r\n"), Vec::new());
    let in_api = path.strip_prefix("/api/");
    let path = in_api.unwrap_or(path.trim_start_matches('/'));
    let path = path.strip_prefix("models/").unwrap_or(path);
    let served = shelf
        .files
        .iter()
        .find(|(name, _)| path.starts_with(&format!("{name}/")));
    let Some((repository, files)) = served else {
        return error("404 Not Found", "RepoNotFound");
    };
    if repository.starts_with("secret/") && token != Some(&format!("Bearer {PRIVATE_TOKEN}")) {
        return error("401 Unauthorized", "GatedRepo");
    }
    let mut rest = path[repository.len() + 1..].splitn(3, '/');
    let (what, revision) = (
        rest.next().unwrap_or_default(),
        rest.next().unwrap_or_default(),
    );
    if revision != "main" && revision != COMMIT {
        return error("404 Not Found", "RevisionNotFound");
    }
    let json = |value: serde_json::Value| {
        let kind = "Content-Type: application/json\r\n".to_owned();
        ("200 OK", kind, value.to_string().into_bytes())
    };
    match (in_api.is_some(), what) {
        (true, "revision") => json(serde_json::json!({ "id": repository, "sha": COMMIT })),
        (true, "tree") => json(
            files
                .iter()
                .map(|(path, bytes)| {
                    serde_json::json!({ "type": "file", "oid": "0", "size": bytes.len(), "path": path })
                })
                .collect(),
        ),
        (false, "resolve") => {
            let name = rest.next().unwrap_or_default();
            let Some(bytes) = files.get(name) else {
                return error("404 Not Found", "EntryNotFound");
            };
            let tag = format!("{}-{}", name.replace('/', "-"), bytes.len());
            let headers = format!("ETag: \"{tag}\"\r\nX-Repo-Commit: {COMMIT}\r\n");
            ("200 OK", headers, bytes.clone())
        }
        _ => error("404 Not Found", "EntryNotFound"),
    }
}
