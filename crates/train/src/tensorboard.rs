//! Metrics of a run in TensorBoard's event-file format.
//!
//! An event file is a sequence of records: the length of an event (u64, little-endian), the masked CRC-32C of the
//! length, the event, and the event's masked CRC-32C. Events are Protocol Buffers; only the fields of scalars are
//! written.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;
use serde_json::Value;

use crate::TrainError;
use crate::hyperparameters::{Metadata, TAG, metadata};

/// Name of the folder beside `metrics.jsonl` that holds the event files.
const FOLDER: &str = "tensorboard";
/// Prefix of file names by which TensorBoard recognizes event files.
const PREFIX: &str = "events.out.tfevents.";
const VERSION: &str = "brain.Event:2";

/// `tensorflow.Event` message.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

/// `tensorflow.Summary` message.
#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

/// `tensorflow.Summary.Value` message of one number, or of a plugin's data.
#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
    #[prost(message, optional, tag = "9")]
    metadata: Option<Metadata>,
}

/// TensorBoard event file of a run, open for appending.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
    /// Start time to which the `seconds` of each event are added: the time of this start of the process, minus the
    /// training time before it. So TensorBoard's time axis shows training time without interruptions.
    begin: f64,
}

impl EventFile {
    /// Creates an event file beside the file `metrics` that begins with the given metrics lines. Removes earlier event
    /// files, so that repeated steps of a stopped run do not appear twice.
    pub fn create(metrics: &Path, lines: &str) -> Result<Self, TrainError> {
        let folder = metrics.with_file_name(FOLDER);
        std::fs::create_dir_all(&folder).map_err(TrainError::file("create", &folder))?;
        for entry in std::fs::read_dir(&folder).map_err(TrainError::file("read", &folder))? {
            let path = entry.map_err(TrainError::file("read", &folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with(PREFIX) {
                std::fs::remove_file(&path).map_err(TrainError::file("remove", &path))?;
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs_f64();
        let lines: Vec<Value> = lines.lines().filter_map(parse).collect();
        let spent = lines.last().and_then(|line| line["seconds"].as_f64());
        let path = folder.join(format!("{PREFIX}{:010}.polymath", now as u64));
        let file = File::create(&path).map_err(TrainError::file("create", &path))?;
        let mut events = Self {
            path,
            file,
            begin: now - spent.unwrap_or(0.0),
        };
        let mut records = record(&Event {
            wall_time: events.begin,
            file_version: Some(VERSION.into()),
            ..Event::default()
        });
        if let Some(metadata) = metadata(metrics, events.begin) {
            records.extend(record(&Event {
                wall_time: events.begin,
                summary: Some(Summary {
                    value: vec![Scalar {
                        tag: TAG.into(),
                        simple_value: None,
                        metadata: Some(metadata),
                    }],
                }),
                ..Event::default()
            }));
        }
        for line in &lines {
            records.extend(record(&events.event(line)));
        }
        events.append(&records)?;
        Ok(events)
    }

    /// Appends one line of the metrics to the event file.
    pub fn write(&mut self, line: &str) -> Result<(), TrainError> {
        match parse(line) {
            Some(line) => self.append(&record(&self.event(&line))),
            None => Ok(()),
        }
    }

    fn append(&mut self, records: &[u8]) -> Result<(), TrainError> {
        self.file
            .write_all(records)
            .map_err(TrainError::file("write", &self.path))
    }

    fn event(&self, line: &Value) -> Event {
        Event {
            wall_time: self.begin + line["seconds"].as_f64().unwrap_or(0.0),
            step: line["step"].as_i64().unwrap_or(0),
            file_version: None,
            summary: Some(Summary {
                value: scalars(line),
            }),
        }
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

/// Returns every number in a metrics line except its position, with a tag: the prefix `train/` for a training step, and
/// the table's name for numbers in a table.
fn scalars(line: &Value) -> Vec<Scalar> {
    let mut scalars = Vec::new();
    let mut push = |tag: String, value: &Value| {
        if let Some(value) = value.as_f64() {
            scalars.push(Scalar {
                tag,
                simple_value: Some(value as f32),
                metadata: None,
            });
        }
    };
    for (name, value) in line.as_object().into_iter().flatten() {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    push(format!("{name}/{key}"), value);
                }
            }
            _ if !["step", "tokens", "seconds"].contains(&name.as_str()) => {
                push(format!("train/{name}"), value);
            }
            _ => {}
        }
    }
    scalars
}

fn record(event: &Event) -> Vec<u8> {
    let event = event.encode_to_vec();
    let length = (event.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(event.len() + 16);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(&event);
    record.extend(masked_crc(&event).to_le_bytes());
    record
}

/// Returns the masked CRC-32C of bytes: the checksum rotated by 15 bits, plus a constant. TensorFlow masks it because a
/// CRC of data that themselves contain CRCs is weak.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: &str = r#"{"step":7,"tokens":70,"seconds":2.5,"loss":3.5,"penalties":{"ewc":0.25},"learning_rate":0.5}"#;
    const EVALUATION: &str =
        r#"{"step":8,"tokens":80,"seconds":3.0,"heldout_bits_per_byte":{"law":1.5}}"#;

    /// Reads the events of a TensorBoard event file and verifies their checksums.
    fn read(folder: &Path) -> Vec<Event> {
        let files: Vec<PathBuf> = std::fs::read_dir(folder.join(FOLDER))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1, "{files:?}");
        let bytes = std::fs::read(&files[0]).unwrap();
        let mut rest = bytes.as_slice();
        let mut events = Vec::new();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked_crc(&head[..8]).to_le_bytes());
            let (event, tail) = tail.split_at(length);
            assert_eq!(tail[..4], masked_crc(event).to_le_bytes());
            events.push(Event::decode(event).unwrap());
            rest = &tail[4..];
        }
        events
    }

    /// Checks that the event file of a resumed run contains the metrics that were kept, once each, and then the new
    /// ones.
    #[test]
    fn events_repeat_the_metrics() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = folder.path().join("metrics.jsonl");
        EventFile::create(&metrics, "").unwrap();
        let mut file = EventFile::create(&metrics, &format!("{STEP}\n")).unwrap();
        file.write(EVALUATION).unwrap();
        let events = read(folder.path());
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].file_version.as_deref(), Some(VERSION));
        let tags = |event: &Event| -> Vec<(String, f32)> {
            let values = event.summary.clone().unwrap().value;
            values
                .into_iter()
                .map(|scalar| (scalar.tag, scalar.simple_value.unwrap()))
                .collect()
        };
        let mut found = tags(&events[1]);
        found.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("penalties/ewc", 0.25),
            ("train/learning_rate", 0.5),
            ("train/loss", 3.5),
        ];
        assert_eq!(
            found,
            expected
                .map(|(tag, value)| (tag.to_owned(), value))
                .to_vec()
        );
        assert_eq!(
            tags(&events[2]),
            [("heldout_bits_per_byte/law".to_owned(), 1.5)]
        );
        assert_eq!([events[1].step, events[2].step], [7, 8]);
        // The time of training without interruptions: the last step that is kept, after 2.5 s, was just now.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let ago = now.as_secs_f64() - events[0].wall_time;
        assert!((2.5..32.5).contains(&ago), "{ago}");
        let apart = events[2].wall_time - events[1].wall_time;
        assert!((apart - 0.5).abs() < 1e-3, "{apart}");
    }

    /// Checks that an event file contains the values of the run's config as hyperparameters, once, before the metrics.
    #[test]
    fn settings_are_hyperparameters() {
        let folder = tempfile::tempdir().unwrap();
        let config = "seed = 3\nrun = \"runs/a\"\n[training]\nlearning_rate = 0.5\n";
        std::fs::write(folder.path().join("run.toml"), config).unwrap();
        let metrics = folder.path().join("metrics.jsonl");
        EventFile::create(&metrics, &format!("{STEP}\n")).unwrap();
        let events = read(folder.path());
        assert_eq!(events.len(), 3);
        let value = &events[1].summary.as_ref().unwrap().value[0];
        assert_eq!((value.tag.as_str(), value.simple_value), (TAG, None));
        let found = value.metadata.as_ref().unwrap().settings();
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        let expected = [
            ("run", "runs/a"),
            ("seed", "3"),
            ("training.learning_rate", "0.5"),
        ];
        assert_eq!(found, expected);
    }

    /// Checks the masked checksum against values of TensorFlow. The masked checksum of no bytes is the constant.
    #[test]
    fn checksums_are_masked() {
        assert_eq!(masked_crc(b""), 0xa282_ead8);
        // CRC-32C of "123456789" is 0xe3069283 (RFC 3720).
        assert_eq!(
            masked_crc(b"123456789"),
            0xe306_9283u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }
}
