//! Columns of a parquet file that make its documents.

use std::sync::Arc;

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::schema::types::{Type, TypePtr};

use crate::sources::fields::FIELDS;
use crate::sources::layout::{FieldNames, FieldPredicates, Layout};
use crate::sources::record::Records;

/// Maximum number of columns that an error message lists.
const LISTED: usize = 16;

/// Returns the columns of `root` that hold the records' text, as a schema of their own. Where a row may have nulls in
/// all columns of a layout (by `has_nulls`), it is read by another layout, so that the columns of that are needed too.
///
/// # Errors
/// Fails if there is no such column or it has another type; the error lists the columns and their types.
pub(crate) fn choose(
    root: &Type,
    records: Records,
    has_nulls: &dyn Fn(&str) -> bool,
) -> Result<TypePtr, String> {
    let column = |name: &str| root.get_fields().iter().find(|field| field.name() == name);
    let texts = |name: &str| column(name).is_some_and(|field| is_text(field));
    let messages = |name: &str| column(name).and_then(|field| messages(field, records.fields));
    let mut chosen: Vec<TypePtr> = Vec::new();
    let mut hidden: Vec<String> = Vec::new();
    loop {
        let is_open = |name: &str| !hidden.iter().any(|other| other == name);
        let layout = records.layout_of(&FieldPredicates {
            text: &|name| is_open(name) && texts(name),
            messages: &|name| is_open(name) && messages(name).is_some(),
        });
        let Some(layout) = layout else {
            break;
        };
        let names = layout.names();
        let mut columns: Vec<TypePtr> = names
            .iter()
            .filter_map(|name| match texts(name) {
                true => column(name).cloned(),
                false => messages(name),
            })
            .collect();
        if let Layout::Messages(fields) = layout {
            // The tools of a conversation are read with its messages.
            columns.extend(column(fields.tools).and_then(readable));
        }
        for column in columns {
            if !chosen.iter().any(|other| other.name() == column.name()) {
                chosen.push(column);
            }
        }
        let with_nulls = names.iter().find(|name| has_nulls(name));
        match with_nulls {
            Some(name) => hidden.push((*name).to_owned()),
            None => break,
        }
    }
    if chosen.is_empty() {
        return Err(missing(root, records));
    }
    let is_new = |name: &&str| !chosen.iter().any(|column| column.name() == *name);
    if let Some(name) = records.group_field.filter(is_new) {
        chosen.push(naming(root, name)?);
    }
    group(root, chosen).ok_or_else(|| missing(root, records))
}

/// Returns the column whose values name the groups.
fn naming(root: &Type, name: &str) -> Result<TypePtr, String> {
    let column = root.get_fields().iter().find(|field| field.name() == name);
    let Some(column) = column else {
        let listed = listed(root);
        return Err(format!(
            "has no column `{name}`, as `group_field` says: it has {listed}"
        ));
    };
    let names = readable(column).filter(|column| column.is_primitive());
    names.ok_or_else(|| {
        let kind = kind(column);
        format!("column `{name}` holds {kind}: expected text or numbers, or another `group_field`")
    })
}

/// Lists columns with their types, for an error message.
fn listed(root: &Type) -> String {
    let columns = root.get_fields();
    let mut listed: Vec<String> = columns
        .iter()
        .take(LISTED)
        .map(|field| format!("`{}` ({})", field.name(), kind(field)))
        .collect();
    if columns.len() > LISTED {
        listed.push(format!("{} more", columns.len() - LISTED));
    }
    listed.join(", ")
}

fn missing(root: &Type, records: Records) -> String {
    let columns = root.get_fields();
    if let Some(name) = records.text_field
        && let Some(column) = columns.iter().find(|field| field.name() == name)
    {
        let kind = kind(column);
        return format!("column `{name}` holds {kind}: expected text, or another `text_field`");
    }
    let listed = listed(root);
    match records.text_field {
        Some(name) => format!("has no column `{name}`, as `text_field` says: it has {listed}"),
        None => format!(
            "has no columns that make a document, neither {FIELDS} (a list of structs with `role` and `content`): it \
             has {listed}; name the one that holds the text in `text_field`"
        ),
    }
}

/// Describes a column's type in words.
fn kind(field: &Type) -> String {
    if is_text(field) {
        return "text".into();
    }
    let info = field.get_basic_info();
    if field.is_primitive() {
        return match (field.get_physical_type(), info.converted_type()) {
            (Physical::BYTE_ARRAY, ConvertedType::NONE) => "bytes".into(),
            (physical, ConvertedType::NONE) => physical.to_string(),
            (physical, converted) => format!("{physical} {converted}"),
        };
    }
    match (info.converted_type(), element(field)) {
        (ConvertedType::LIST, Some(element)) => format!("list of {}", kind(element)),
        (ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE, _) => "map".into(),
        _ => {
            let fields = field.get_fields().iter().take(LISTED);
            let fields: Vec<String> = fields
                .map(|field| format!("{}: {}", field.name(), kind(field)))
                .collect();
            format!("struct {{{}}}", fields.join(", "))
        }
    }
}

fn is_text(field: &Type) -> bool {
    let info = field.get_basic_info();
    let converted = [
        ConvertedType::UTF8,
        ConvertedType::ENUM,
        ConvertedType::JSON,
    ]
    .contains(&info.converted_type());
    field.is_primitive()
        && field.get_physical_type() == Physical::BYTE_ARRAY
        && info.repetition() != Repetition::REPEATED
        && (converted || info.logical_type_ref() == Some(&LogicalType::String))
}

/// Returns the readable parts of a column of messages; `None` if it is not a list of structs with a role and a
/// content, by the usual names or those in the config.
fn messages(field: &TypePtr, names: Option<&FieldNames>) -> Option<TypePtr> {
    let read = readable(field)?;
    let message = element(&read)?;
    let has = |name: &str| {
        let mut fields = message.get_fields().iter();
        fields.any(|field| field.name() == name && is_text(field))
    };
    let named = |[role, content]: [&str; 2]| {
        let role = names
            .and_then(|names| names.role.as_deref())
            .unwrap_or(role);
        let content = names
            .and_then(|names| names.content.as_deref())
            .unwrap_or(content);
        has(role) && has(content)
    };
    let is_known = [["role", "content"], ["from", "value"]]
        .into_iter()
        .any(named);
    (message.is_group() && is_known).then(|| read.clone())
}

/// Returns the element type of a list, in the standard layout or in an older one.
fn element(list: &Type) -> Option<&Type> {
    let repeated = list.is_group().then(|| list.get_fields())?.first()?;
    let is_list = list.get_basic_info().converted_type() == ConvertedType::LIST;
    if !is_list || repeated.get_basic_info().repetition() != Repetition::REPEATED {
        return None;
    }
    let itself = repeated.is_primitive()
        || repeated.get_fields().len() > 1
        || repeated.name() == "array"
        || repeated.name().ends_with("_tuple");
    match itself {
        true => Some(repeated),
        false => repeated.get_fields().first().map(Arc::as_ref),
    }
}

/// Returns the part of a type that JSON can represent: text, numbers, booleans, and lists and structs of these;
/// `None` if there is none. Chat templates do not read other types (dates, bytes, maps).
fn readable(field: &TypePtr) -> Option<TypePtr> {
    if field.is_primitive() {
        let converted = field.get_basic_info().converted_type();
        let number = [
            ConvertedType::NONE,
            ConvertedType::INT_8,
            ConvertedType::INT_16,
            ConvertedType::INT_32,
            ConvertedType::INT_64,
            ConvertedType::UINT_8,
            ConvertedType::UINT_16,
            ConvertedType::UINT_32,
            ConvertedType::UINT_64,
        ]
        .contains(&converted);
        let kept = match field.get_physical_type() {
            Physical::INT32 | Physical::INT64 => number,
            Physical::BOOLEAN | Physical::FLOAT | Physical::DOUBLE => true,
            _ => is_text(field) && converted != ConvertedType::NONE,
        };
        return kept.then(|| field.clone());
    }
    match field.get_basic_info().converted_type() {
        ConvertedType::LIST => {
            let old = element(field)?.get_basic_info().repetition() == Repetition::REPEATED;
            let [repeated] = field.get_fields() else {
                return None;
            };
            let inner = struct_of(repeated)?;
            // In the old list layout, a struct with fewer fields could be taken for the list itself.
            let changed =
                inner.is_group() && inner.get_fields().len() != repeated.get_fields().len();
            (!(old && changed)).then(|| group(field, vec![inner]))?
        }
        ConvertedType::NONE if field.get_basic_info().repetition() != Repetition::REPEATED => {
            struct_of(field)
        }
        _ => None,
    }
}

/// Returns a struct with its readable fields only; a value that is not a struct is returned as it is.
fn struct_of(field: &TypePtr) -> Option<TypePtr> {
    if field.is_primitive() {
        return readable(field);
    }
    let fields: Vec<TypePtr> = field.get_fields().iter().filter_map(readable).collect();
    match fields.is_empty() {
        true => None,
        false => group(field, fields),
    }
}

/// Returns a copy of the group type `like` with other fields.
fn group(like: &Type, fields: Vec<TypePtr>) -> Option<TypePtr> {
    let info = like.get_basic_info();
    let mut builder = Type::group_type_builder(like.name()).with_fields(fields);
    if info.has_repetition() {
        builder = builder
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned());
    }
    builder.build().ok().map(Arc::new)
}
