//! Local server with the part of the hub's HTTP API that its client uses: paged listings, files by redirect and by
//! range, and pushes with the store for large files. Tests can make requests fail.

mod chunked;
mod given;
mod taken;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use assert_cmd::Command;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Commit of every repository, to which `main` points.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Token that gives access to the repositories of the owner `secret`, and write access to all.
pub const PRIVATE_TOKEN: &str = "hf_of_the_tests";

/// Failure that a test plans for a request.
#[derive(Debug, Clone, Copy)]
pub enum Trouble {
    /// Responds with this status and a page without information.
    Status(&'static str),
    /// Breaks the connection after this number of bytes of the content.
    Cut(usize),
}

#[derive(Default)]
struct Shelf {
    /// Files by repository and path. A repository is `owner/name` or `datasets/owner/name`, with `@branch` for
    /// branches other than `main`.
    files: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    private: BTreeSet<String>,
    /// Repositories whose large files are served from the chunked store.
    chunked: BTreeSet<String>,
    /// Renamed repositories: previous name to current name.
    renamed: BTreeMap<String, String>,
    /// Uncompressed content that was pushed to the store for large files.
    stored: Vec<u8>,
    /// Repository and message of every commit.
    commits: Vec<(String, String)>,
    /// Method and path of every request.
    requests: Vec<String>,
    /// Ranges of files that were sent.
    ranges: Vec<String>,
    /// Pending failures: a part of the request's method and path, the failure, and the remaining number of times.
    troubles: Vec<(String, Trouble, usize)>,
}

/// Running server, which ends with the process.
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
                // A client may close the connection early.
                std::thread::spawn(move || answer(stream, &shelf, port).unwrap_or_default());
            }
        });
        Self { port, shelf }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the command in `folder`, with a cache in that folder and this server as the hub.
    pub fn polymath(&self, folder: &Path) -> Command {
        let mut command = Command::cargo_bin("polymath").expect("the binary of this package");
        command
            .current_dir(folder)
            .args(["--device", "cpu"])
            .env("HF_ENDPOINT", self.address())
            .env("HF_HOME", folder.join("hf-home"))
            .env_remove("HF_HUB_CACHE")
            .env_remove("HF_TOKEN")
            .env_remove("HF_HUB_OFFLINE")
            // A proxy of the machine must not be used for local addresses.
            .env("NO_PROXY", "127.0.0.1");
        command
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

    /// Serves the repository's large files from the chunked store from now on.
    pub fn keep_in_chunks(&self, repository: &str) {
        let mut shelf = self.shelf.lock().unwrap();
        shelf.chunked.insert(repository.into());
    }

    /// Makes `old` redirect to `new` from now on.
    pub fn rename(&self, old: &str, new: &str) {
        let mut shelf = self.shelf.lock().unwrap();
        shelf.renamed.insert(old.into(), new.into());
    }

    /// Makes the next `times` requests whose method and path contain `request` fail with `trouble`.
    pub fn trouble(&self, request: &str, trouble: Trouble, times: usize) {
        let mut shelf = self.shelf.lock().unwrap();
        shelf.troubles.push((request.into(), trouble, times));
    }

    /// Removes all pending failures.
    pub fn repair(&self) {
        self.shelf.lock().unwrap().troubles.clear();
    }

    /// Returns a repository's files, or `None` if it does not exist.
    pub fn files(&self, repository: &str) -> Option<BTreeMap<String, Vec<u8>>> {
        self.shelf.lock().unwrap().files.get(repository).cloned()
    }

    pub fn is_private(&self, repository: &str) -> bool {
        self.shelf.lock().unwrap().private.contains(repository)
    }

    /// Returns the repository and the message of every commit, in order.
    pub fn commits(&self) -> Vec<(String, String)> {
        self.shelf.lock().unwrap().commits.clone()
    }

    /// Returns the number of requests so far.
    pub fn requests(&self) -> usize {
        self.shelf.lock().unwrap().requests.len()
    }

    /// Returns the number of requests so far whose method and path contain `request`.
    pub fn count(&self, request: &str) -> usize {
        let shelf = self.shelf.lock().unwrap();
        let all = shelf.requests.iter();
        all.filter(|found| found.contains(request)).count()
    }

    /// Returns the ranges of files that were sent.
    pub fn ranges(&self) -> Vec<String> {
        self.shelf.lock().unwrap().ranges.clone()
    }

    /// Returns the paths whose content was sent.
    pub fn downloads(&self) -> Vec<String> {
        let shelf = self.shelf.lock().unwrap();
        let sent = shelf.requests.iter().filter_map(|request| {
            let path = request.strip_prefix("GET ")?;
            path.contains("/resolve/").then(|| path.to_owned())
        });
        sent.collect()
    }
}

/// Parsed HTTP request, with the parts that the server uses.
struct Request {
    method: String,
    /// Path without the query, with percent signs decoded.
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ');
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = BTreeMap::new();
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':') {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
        }
        let length = headers.get("content-length");
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Self {
            path: path.replace("%2F", "/"),
            query: query.to_owned(),
            method,
            headers,
            body,
        })
    }

    fn is_authorised(&self) -> bool {
        self.headers.get("authorization") == Some(&format!("Bearer {PRIVATE_TOKEN}"))
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// HTTP response: status line, further headers and body.
struct Response(&'static str, String, Vec<u8>);

impl Response {
    fn error(status: &'static str, code: &str) -> Self {
        Self(status, format!("X-Error-Code: {code}\r\n"), Vec::new())
    }

    fn json(value: &serde_json::Value) -> Self {
        let kind = "Content-Type: application/json\r\n".to_owned();
        Self("200 OK", kind, value.to_string().into_bytes())
    }
}

fn answer(mut stream: TcpStream, shelf: &Mutex<Shelf>, port: u16) -> std::io::Result<()> {
    let request = Request::read(&stream)?;
    let mut shelf = shelf.lock().unwrap();
    let asked = format!("{} {}", request.method, request.path);
    let trouble = shelf.next_trouble(&asked);
    shelf.requests.push(asked);
    let Response(status, headers, body) = match trouble {
        Some(Trouble::Status(status)) => Response(status, String::new(), b"no".to_vec()),
        _ => shelf.respond(&request, port),
    };
    if let Some(range) = request
        .headers
        .get("range")
        .filter(|_| status.starts_with("206"))
    {
        shelf.ranges.push(range.clone());
    }
    drop(shelf);
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    if request.method != "HEAD" {
        let sent = match trouble {
            Some(Trouble::Cut(length)) => &body[..length.min(body.len())],
            _ => &body[..],
        };
        stream.write_all(sent)?;
    }
    stream.flush()
}

impl Shelf {
    fn next_trouble(&mut self, asked: &str) -> Option<Trouble> {
        let mut troubles = self.troubles.iter_mut();
        let (_, trouble, times) =
            troubles.find(|(request, _, times)| *times > 0 && asked.contains(request.as_str()))?;
        *times -= 1;
        Some(*trouble)
    }

    fn respond(&mut self, request: &Request, port: u16) -> Response {
        for (old, new) in &self.renamed {
            let inside = format!("/{old}/");
            if request.path.contains(&inside) {
                let place = request.path.replace(&inside, &format!("/{new}/"));
                let place = format!("Location: {place}?{}\r\n", request.query);
                return Response("307 Temporary Redirect", place, Vec::new());
            }
        }
        if let Some(answer) = chunked::respond(self, request, port) {
            return answer;
        }
        if let Some(answer) = taken::respond(self, request, port) {
            return answer;
        }
        given::respond(self, request, port)
    }
}

/// Returns true if the hub stores a file of this name outside of git (LFS).
fn is_large(path: &str) -> bool {
    path.ends_with(".safetensors") || path.ends_with(".parquet")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the git object id of a content.
fn git_object(content: &[u8]) -> String {
    let mut hasher = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
    hasher.update(content);
    hexadecimal(&hasher.finalize())
}

fn sha256(content: &[u8]) -> String {
    hexadecimal(&Sha256::digest(content))
}

/// Returns the LFS pointer that git stores in place of a large file.
fn note(content: &[u8]) -> String {
    let (digest, size) = (sha256(content), content.len());
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {size}\n")
}

/// Returns the output of a command. Panics if it fails.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}
