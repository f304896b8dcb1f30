//! Chunked store of the test server, for downloads: the chunks of a file, or of a range of it. This server names a file
//! by its SHA-256, since the client does not interpret the store's own hash.

use serde_json::json;
use xet_core_structures::xorb_object::{CompressionScheme, serialize_chunk};

use super::given::part;
use super::{Request, Response, Shelf, is_large, sha256};

/// Bytes of a chunk, before compression.
const CHUNK: usize = 1000;
/// Number of consecutive chunks that one URL serves.
const STRETCH: usize = 4;

/// Returns the response with the token and the address of the store.
pub fn token(port: u16) -> Response {
    let address = format!("http://127.0.0.1:{port}/cas");
    Response::json(&json!({
        "accessToken": "for-the-store", "exp": 4_000_000_000u64, "casUrl": address,
    }))
}

/// Answers a request that reads from the store. Returns `None` for any other request.
pub fn respond(shelf: &Shelf, request: &Request, port: u16) -> Option<Response> {
    let path = request.path.strip_prefix("/cas/")?;
    if let Some(hash) = path.strip_prefix("v1/reconstructions/") {
        return Some(match find(shelf, hash) {
            Some(bytes) => reconstruction(request, (hash, bytes), port),
            None => Response::error("404 Not Found", ""),
        });
    }
    let (hash, _first_chunk) = path.strip_prefix("chunks/")?.split_once('/')?;
    Some(part(request, &pack(find(shelf, hash)?).0))
}

fn find<'a>(shelf: &'a Shelf, hash: &str) -> Option<&'a Vec<u8>> {
    let mut large = shelf.files.values().flatten();
    let found = large.find(|(path, bytes)| is_large(path) && sha256(bytes) == hash);
    Some(found?.1)
}

/// Compresses all chunks of a file, one after the other. Returns the bytes, and the offset at which each chunk begins
/// and the last one ends.
fn pack(bytes: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let mut packed = Vec::new();
    let mut places = vec![0];
    for chunk in bytes.chunks(CHUNK) {
        serialize_chunk(chunk, &mut packed, CompressionScheme::LZ4).unwrap();
        places.push(packed.len());
    }
    (packed, places)
}

/// Returns the list of chunks that contain a file, or a range of it, with the URL of each run of chunks.
fn reconstruction(request: &Request, (hash, bytes): (&str, &[u8]), port: u16) -> Response {
    let range = request.headers.get("range").and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse().ok()?))
    });
    let (from, to): (usize, usize) = range.unwrap_or((0, bytes.len() - 1));
    if from >= bytes.len() {
        return Response("416 Range Not Satisfiable", String::new(), Vec::new());
    }
    let places = pack(bytes).1;
    let (first, end) = (from / CHUNK, to.min(bytes.len() - 1) / CHUNK + 1);
    let (mut terms, mut fetches) = (Vec::new(), Vec::new());
    for start in (first..end).step_by(STRETCH) {
        let stop = end.min(start + STRETCH);
        let chunks = json!({ "start": start, "end": stop });
        let unpacked = bytes.len().min(stop * CHUNK) - start * CHUNK;
        terms.push(json!({ "hash": hash, "unpacked_length": unpacked, "range": chunks }));
        fetches.push(json!({
            "range": chunks,
            "url": format!("http://127.0.0.1:{port}/cas/chunks/{hash}/{start}"),
            "url_range": { "start": places[start], "end": places[stop] - 1 },
        }));
    }
    Response::json(&json!({
        "offset_into_first_range": from - first * CHUNK,
        "terms": terms,
        "fetch_info": { hash: fetches },
    }))
}
