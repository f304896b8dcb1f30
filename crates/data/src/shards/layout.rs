//! Layout of a shard's file: the byte range of each tensor.

use std::collections::HashMap;
use std::ops::Range;

use safetensors::{Dtype, SafeTensors};

use crate::Grouping;

/// Keys of the safetensors header's metadata that describe the groups.
pub(crate) const GROUP_KIND: &str = "group_kind";
pub(crate) const GROUP_FIELD: &str = "group_field";

/// Byte ranges of the tensors with the documents' groups and sources, and the kind of the groups.
#[derive(Debug)]
pub(super) struct Origins {
    pub(super) grouping: Grouping,
    pub(super) groups: Range<usize>,
    pub(super) files: Range<usize>,
    pub(super) records: Range<usize>,
}

/// Byte range of each tensor in a shard's file.
pub(super) struct Layout {
    pub(super) wide: bool,
    pub(super) tokens: Range<usize>,
    pub(super) offsets: Range<usize>,
    pub(super) document_bytes: Range<usize>,
    pub(super) loss_mask: Option<Range<usize>>,
    pub(super) origins: Option<Origins>,
}

impl Layout {
    pub(super) fn read(file: &[u8]) -> Result<Layout, String> {
        let (header, metadata) = SafeTensors::read_metadata(file).map_err(|error| {
            format!("not a whole safetensors file ({error}): prepare the dataset again")
        })?;
        let find = |name: &str, types: &[Dtype]| {
            let info = metadata
                .info(name)
                .ok_or_else(|| format!("not a token shard: it has no tensor `{name}`"))?;
            if !types.contains(&info.dtype) || info.shape.len() != 1 {
                return Err(format!(
                    "tensor `{name}` is {:?} {:?}, expected a list of {types:?}",
                    info.dtype, info.shape
                ));
            }
            let start = 8 + header; // 8 bytes before the header hold its length
            let (from, to) = info.data_offsets;
            Ok((start + from..start + to, info.dtype, info.shape[0]))
        };
        let (tokens, token_type, token_count) = find("tokens", &[Dtype::U16, Dtype::U32])?;
        let (offsets, _, offset_count) = find("document_offsets", &[Dtype::U64])?;
        let (document_bytes, _, documents) = find("document_bytes", &[Dtype::U32])?;
        if offset_count != documents + 1 {
            return Err(format!(
                "{offset_count} `document_offsets` for {documents} `document_bytes`, expected one more"
            ));
        }
        let mut loss_mask = None;
        if metadata.info("loss_mask").is_some() {
            let (mask, _, count) = find("loss_mask", &[Dtype::U8])?;
            if count != token_count {
                return Err(format!(
                    "`loss_mask` has {count} marks for {token_count} `tokens`"
                ));
            }
            loss_mask = Some(mask);
        }
        let of_documents = |name: &str, dtype: Dtype| {
            let (range, _, count) = find(name, &[dtype])?;
            match count == documents {
                true => Ok(range),
                false => Err(format!(
                    "`{name}` has {count} entries for {documents} documents"
                )),
            }
        };
        let origins = match metadata.info("document_groups") {
            Some(_) => {
                let grouping = grouping(metadata.metadata().as_ref())?;
                Some(Origins::read(grouping, &of_documents)?)
            }
            None => None,
        };
        Ok(Layout {
            wide: token_type == Dtype::U32,
            tokens,
            offsets,
            document_bytes,
            loss_mask,
            origins,
        })
    }
}

/// Function that returns the byte range of a tensor with one number per document, by its name and number type.
type OfDocuments<'a> = &'a dyn Fn(&str, Dtype) -> Result<Range<usize>, String>;

impl Origins {
    fn read(grouping: Grouping, find: OfDocuments<'_>) -> Result<Self, String> {
        Ok(Self {
            grouping,
            groups: find("document_groups", Dtype::U64)?,
            files: find("document_files", Dtype::U32)?,
            records: find("document_records", Dtype::U64)?,
        })
    }
}

/// Reads the kind of the groups from the header's metadata.
fn grouping(metadata: Option<&HashMap<String, String>>) -> Result<Grouping, String> {
    let find = |key: &str| metadata.and_then(|metadata| metadata.get(key));
    let name = find(GROUP_KIND).map_or("", String::as_str);
    let kind = serde_json::from_value(name.into()).map_err(|_| {
        format!(
            "has `document_groups`, but its `{GROUP_KIND}` is `{name}`: prepare the dataset again"
        )
    })?;
    Ok(Grouping {
        kind,
        field: find(GROUP_FIELD).cloned(),
    })
}
