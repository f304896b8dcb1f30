//! Nested columns of a row as JSON text, with the fields of structs in the order of the file.

use parquet::record::{Field, Row};
use serde::{Serialize, Serializer};

/// Returns the nested columns of a row as a JSON object; `None` if there are none. A null field counts as absent.
/// Chat templates write tools and calls in the order of their fields, which a parsed JSON value does not keep.
pub(super) fn nested_in_order(row: &Row) -> Option<String> {
    let is_nested = |field: &Field| {
        matches!(
            field,
            Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_)
        )
    };
    let mut columns = row
        .get_column_iter()
        .filter(|(_, field)| is_nested(field))
        .peekable();
    columns.peek()?;
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::new(&mut text);
    let columns = columns.map(|(name, field)| (name, InOrder(field)));
    serializer.collect_map(columns).ok()?;
    String::from_utf8(text).ok()
}

/// Field of a row, serialized with the fields of structs in the order of the file.
struct InOrder<'a>(&'a Field);

impl Serialize for InOrder<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Field::Group(row) => {
                let present = row
                    .get_column_iter()
                    .filter(|(_, field)| !matches!(field, Field::Null));
                serializer.collect_map(present.map(|(name, field)| (name, InOrder(field))))
            }
            Field::ListInternal(list) => {
                serializer.collect_seq(list.elements().iter().map(InOrder))
            }
            other => other.to_json_value().serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the fields of structs keep their order at every depth, and that null ones are left out.
    #[test]
    fn structs_keep_the_order_of_their_fields() {
        let field = |name: &str, field: Field| (name.to_owned(), field);
        let text = |text: &str| Field::Str(text.to_owned());
        let arguments = Field::Group(Row::new(vec![
            field("b", Field::Long(1)),
            field("a", Field::Null),
            field("c", text("x")),
        ]));
        let call = Field::Group(Row::new(vec![
            field("name", text("f")),
            field("arguments", arguments),
        ]));
        let row = Row::new(vec![field("id", Field::Int(3)), field("call", call)]);
        assert_eq!(
            nested_in_order(&row).unwrap(),
            r#"{"call":{"name":"f","arguments":{"b":1,"c":"x"}}}"#
        );
        assert_eq!(
            nested_in_order(&Row::new(vec![field("id", Field::Int(3))])),
            None
        );
    }
}
