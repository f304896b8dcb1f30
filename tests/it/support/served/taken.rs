//! Responses of the test server to requests that write: repositories, branches, commits, and large files in the chunked
//! store.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::{Value, json};
use xet_core_structures::xorb_object::deserialize_chunk;

use super::chunked::token;
use super::{COMMIT, Request, Response, Shelf, is_large, sha256};

/// Answers a request that writes. Returns `None` for one that reads.
pub fn respond(shelf: &mut Shelf, request: &Request, port: u16) -> Option<Response> {
    if let Some(path) = request.path.strip_prefix("/cas/") {
        return Some(store(shelf, request, path));
    }
    let asks_to_write = request.path.contains("/xet-write-token/");
    if request.method != "POST" && !asks_to_write {
        return None;
    }
    if !request.is_authorised() {
        return Some(Response::error("401 Unauthorized", "RepoNotFound"));
    }
    if request.path == "/api/repos/create" {
        return Some(create(shelf, &request.json()));
    }
    if let Some(repository) = request.path.strip_suffix(".git/info/lfs/objects/batch") {
        let known = shelf.files.contains_key(repository.trim_start_matches('/'));
        return Some(match known {
            true => Response::json(&json!({ "transfer": "xet", "objects": [] })),
            false => Response::error("404 Not Found", "RepoNotFound"),
        });
    }
    let path = request.path.strip_prefix("/api/models/")?;
    let mut parts = path.splitn(4, '/');
    let repository = format!("{}/{}", parts.next()?, parts.next()?);
    let (what, revision) = (parts.next()?, parts.next()?);
    if !shelf.files.contains_key(&repository) {
        return Some(Response::error("404 Not Found", "RepoNotFound"));
    }
    let key = match revision {
        "main" => repository.clone(),
        branch => format!("{repository}@{branch}"),
    };
    Some(match what {
        "branch" if shelf.files.contains_key(&key) => Response::error("409 Conflict", ""),
        "branch" => {
            let files = shelf.files[&repository].clone();
            shelf.files.insert(key, files);
            Response::json(&json!({}))
        }
        _ if !shelf.files.contains_key(&key) => {
            Response::error("404 Not Found", "RevisionNotFound")
        }
        "preupload" => sort(&request.json()),
        "xet-write-token" => token(port),
        "commit" => commit(shelf, &key, &request.body),
        _ => Response::error("404 Not Found", "EntryNotFound"),
    })
}

fn create(shelf: &mut Shelf, wanted: &Value) -> Response {
    let text = |key: &str| wanted[key].as_str().unwrap_or_default().to_owned();
    let repository = format!("{}/{}", text("organization"), text("name"));
    if shelf.files.contains_key(&repository) {
        return Response::error("409 Conflict", "");
    }
    if wanted["private"] == true {
        shelf.private.insert(repository.clone());
    }
    shelf.files.insert(repository.clone(), BTreeMap::new());
    Response::json(&json!({ "url": format!("http://hub/{repository}") }))
}

/// Tells the client for each file of a push whether it goes into the commit or, being large, into the store.
fn sort(wanted: &Value) -> Response {
    let files = wanted["files"].as_array().cloned().unwrap_or_default();
    let sorted = files.iter().map(|file| {
        let path = file["path"].as_str().unwrap_or_default();
        let mode = if is_large(path) { "lfs" } else { "regular" };
        json!({ "path": path, "uploadMode": mode, "shouldIgnore": false })
    });
    Response::json(&json!({ "files": sorted.collect::<Vec<_>>() }))
}

/// Uncompresses received chunks and stores them one after the other.
fn store(shelf: &mut Shelf, request: &Request, path: &str) -> Response {
    if request.method == "POST" && path.starts_with("v1/xorbs/") {
        let mut chunks = &request.body[..];
        let mut unpacked = Vec::new();
        // An index may follow the chunks.
        while let Ok((chunk, _, _)) = deserialize_chunk(&mut chunks) {
            unpacked.extend(chunk);
        }
        shelf.stored.extend(unpacked);
        return Response::json(&json!({ "was_inserted": true }));
    }
    match path {
        "v1/shards" => Response::json(&json!({ "result": 1 })),
        // Newer forms of upload, and queries for existing chunks, are not supported.
        _ => Response::error("404 Not Found", ""),
    }
}

/// Applies all operations of a commit, or none of them.
fn commit(shelf: &mut Shelf, key: &str, body: &[u8]) -> Response {
    let mut files = shelf.files[key].clone();
    let mut message = String::new();
    for line in String::from_utf8_lossy(body).lines() {
        let operation: Value = serde_json::from_str(line).unwrap_or_default();
        let value = &operation["value"];
        let path = value["path"].as_str().unwrap_or_default().to_owned();
        let content = match operation["key"].as_str() {
            Some("header") => {
                value["summary"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut message);
                continue;
            }
            Some("file") => {
                let content = value["content"].as_str().unwrap_or_default();
                base64::engine::general_purpose::STANDARD
                    .decode(content)
                    .ok()
            }
            Some("lfsFile") => stored(shelf, value),
            _ => None,
        };
        let Some(content) = content else {
            let said = format!("{{\"error\": \"`{path}` never arrived\"}}").into_bytes();
            return Response("400 Bad Request", String::new(), said);
        };
        files.insert(path, content);
    }
    shelf.files.insert(key.to_owned(), files);
    shelf.commits.push((key.to_owned(), message));
    let url = format!("http://hub/{key}/commit/{COMMIT}");
    Response::json(&json!({ "success": true, "commitOid": COMMIT, "commitUrl": url }))
}

/// Returns the stored content with this digest and size, wherever it begins in the store.
fn stored(shelf: &Shelf, value: &Value) -> Option<Vec<u8>> {
    let size = usize::try_from(value["size"].as_u64()?).ok()?;
    let digest = value["oid"].as_str()?;
    // A safetensors file begins with the length of its header, eight bytes, which `{` follows.
    let begins = |at: &usize| shelf.stored.get(at + 8) == Some(&b'{');
    let mut starts = (0..=shelf.stored.len().checked_sub(size)?).filter(begins);
    let found = starts.find(|at| sha256(&shelf.stored[*at..at + size]) == digest)?;
    Some(shelf.stored[found..found + size].to_vec())
}
