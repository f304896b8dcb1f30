//! Responses of the test server to requests that read: repository information, listings and files.

use serde_json::json;

use super::chunked::token;
use super::{COMMIT, Request, Response, Shelf, git_object, is_large, note, sha256};

/// Entries in a page of a listing: few, so that every listing has several pages.
const PAGE: usize = 3;

pub fn respond(shelf: &Shelf, request: &Request, port: u16) -> Response {
    if let Some(path) = request.path.strip_prefix("/cdn/") {
        return content(shelf, request, path);
    }
    let in_api = request.path.strip_prefix("/api/");
    let path = in_api.unwrap_or(request.path.trim_start_matches('/'));
    let path = path.strip_prefix("models/").unwrap_or(path);
    let served = shelf.files.keys().find(|name| {
        path.strip_prefix(name.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    let Some(repository) = served else {
        return Response::error("404 Not Found", "RepoNotFound");
    };
    if repository.starts_with("secret/") && !request.is_authorised() {
        return Response::error("401 Unauthorized", "GatedRepo");
    }
    let rest = path[repository.len()..].trim_start_matches('/');
    let facts = |key: &str| {
        let private = shelf.private.contains(repository.as_str());
        Response::json(&json!({ "id": repository, "sha": commit_of(key), "private": private }))
    };
    if rest.is_empty() {
        return facts(repository);
    }
    let (what, rest) = rest.split_once('/').unwrap_or((rest, ""));
    let Some((key, rest)) = at_revision(shelf, repository, rest) else {
        return Response::error("404 Not Found", "RevisionNotFound");
    };
    match (in_api.is_some(), what) {
        (true, "revision") => facts(&key),
        (true, "xet-read-token") => token(port),
        (true, "tree") => listing(&shelf.files[&key], request, port),
        (false, "resolve") => resolve(shelf, request, (&key, rest), port),
        _ => Response::error("404 Not Found", "EntryNotFound"),
    }
}

/// Returns the commit that a branch's key stands for.
fn commit_of(key: &str) -> String {
    match key.contains('@') {
        true => git_object(key.as_bytes()),
        false => COMMIT.into(),
    }
}

/// Splits a path into the key of a revision's files and the rest of the path.
fn at_revision<'a>(shelf: &Shelf, repository: &str, rest: &'a str) -> Option<(String, &'a str)> {
    let behind = |revision: &str| {
        let rest = rest.strip_prefix(revision)?;
        Some(rest.trim_start_matches('/'))
    };
    let mut keys = shelf.files.keys().filter_map(|key| {
        let branch = key.strip_prefix(repository)?;
        let branch = match branch.is_empty() {
            true => "main",
            false => branch.strip_prefix('@')?,
        };
        let rest = behind(branch).or_else(|| behind(&commit_of(key)))?;
        Some((key.clone(), rest))
    });
    keys.next()
}

fn listing(
    files: &std::collections::BTreeMap<String, Vec<u8>>,
    request: &Request,
    port: u16,
) -> Response {
    let from = request.query.split("cursor=").nth(1);
    let from: usize = from.and_then(|from| from.parse().ok()).unwrap_or(0);
    let entries = files.iter().skip(from).take(PAGE).map(|(path, bytes)| {
        let size = bytes.len();
        if is_large(path) {
            let oid = git_object(note(bytes).as_bytes());
            let large =
                json!({ "oid": sha256(bytes), "size": size, "pointerSize": note(bytes).len() });
            return json!({ "type": "file", "oid": oid, "size": size, "path": path, "lfs": large });
        }
        json!({ "type": "file", "oid": git_object(bytes), "size": size, "path": path })
    });
    let mut answer = Response::json(&entries.collect());
    if from + PAGE < files.len() {
        let (path, next) = (&request.path, from + PAGE);
        answer.1 +=
            &format!("Link: <http://127.0.0.1:{port}{path}?cursor={next}>; rel=\"next\"\r\n");
    }
    answer
}

/// Returns a small file, or a redirect to the address of a large one.
fn resolve(shelf: &Shelf, request: &Request, (key, name): (&String, &str), port: u16) -> Response {
    let Some(bytes) = shelf.files[key].get(name) else {
        return Response::error("404 Not Found", "EntryNotFound");
    };
    let commit = format!("X-Repo-Commit: {}\r\n", commit_of(key));
    if is_large(name) {
        let (tag, size) = (sha256(bytes), bytes.len());
        let place = format!("http://127.0.0.1:{port}/cdn/{key}//{name}");
        let mut headers = format!(
            "{commit}X-Linked-Etag: \"{tag}\"\r\nX-Linked-Size: {size}\r\nLocation: {place}\r\n"
        );
        if shelf.chunked.contains(key) {
            headers += &format!("X-Xet-Hash: {tag}\r\n");
        }
        return Response("302 Found", headers, b"it is elsewhere".to_vec());
    }
    let tag = format!("\"{}\"", git_object(bytes));
    if request.headers.get("if-none-match") == Some(&tag) {
        return Response(
            "304 Not Modified",
            format!("{commit}ETag: {tag}\r\n"),
            Vec::new(),
        );
    }
    let mut answer = part(request, bytes);
    answer.1 += &format!("{commit}ETag: {tag}\r\n");
    answer
}

/// Returns the response with the content of a large file.
fn content(shelf: &Shelf, request: &Request, path: &str) -> Response {
    let found = path
        .split_once("//")
        .and_then(|(key, name)| shelf.files.get(key)?.get(name));
    match found {
        Some(bytes) => part(request, bytes),
        None => Response::error("404 Not Found", "EntryNotFound"),
    }
}

/// Returns the response with a whole file, or with the byte range that the request names.
pub fn part(request: &Request, bytes: &[u8]) -> Response {
    let range = request.headers.get("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?))
    });
    match range {
        Some((from, to)) if from <= to && to < bytes.len() => {
            let whole = format!("Content-Range: bytes {from}-{to}/{}\r\n", bytes.len());
            Response("206 Partial Content", whole, bytes[from..=to].to_vec())
        }
        Some(_) => Response("416 Range Not Satisfiable", String::new(), Vec::new()),
        None => Response("200 OK", "Accept-Ranges: bytes\r\n".into(), bytes.to_vec()),
    }
}
