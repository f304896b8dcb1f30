//! Helpers for syntax trees: type names, serde attributes and doc comments.

use std::path::Path;

use syn::{Attribute, Expr, Meta, Type};

/// Calls `visit` with every Rust file below a folder, in order.
pub fn collect(folder: &Path, visit: &mut impl FnMut(&Path)) {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, visit);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            visit(&path);
        }
    }
}

/// Returns the last name of a type's path.
pub fn last(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path
            .path
            .segments
            .last()
            .map(|s| s.ident.to_string())
            .unwrap_or_default(),
        _ => String::new(),
    }
}

/// Returns the types within a type's angle brackets.
pub fn arguments(ty: &Type) -> Vec<Type> {
    let Type::Path(path) = ty else {
        return Vec::new();
    };
    match path.path.segments.last().map(|segment| &segment.arguments) {
        Some(syn::PathArguments::AngleBracketed(list)) => {
            let types = list.args.iter().filter_map(|argument| match argument {
                syn::GenericArgument::Type(ty) => Some(ty.clone()),
                _ => None,
            });
            types.collect()
        }
        _ => Vec::new(),
    }
}

/// Returns the text within each `#[serde(…)]`.
pub fn serde(attributes: &[Attribute]) -> impl Iterator<Item = String> + '_ {
    attributes
        .iter()
        .filter(|attr| attr.path().is_ident("serde"))
        .filter_map(|attr| match &attr.meta {
            Meta::List(list) => Some(list.tokens.to_string()),
            _ => None,
        })
}

/// Returns true if a list of serde attributes contains `word`, with a value or without.
pub fn has_word(text: &str, word: &str) -> bool {
    text.split(',')
        .any(|part| part.trim() == word || part.trim().starts_with(&format!("{word} =")))
}

/// Returns the quoted string after `before`, if `before` begins an attribute of the list.
pub fn quoted(text: &str, before: &str) -> Option<String> {
    let part = text
        .split(',')
        .find_map(|part| part.trim().strip_prefix(before))?;
    Some(part.trim().trim_matches('"').to_owned())
}

/// Converts a type's name to kebab case.
pub fn kebab_case(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !text.is_empty() {
            text.push('-');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

/// Returns a doc comment as one line.
pub fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(syn::ExprLit {
                lit: syn::Lit::Str(text),
                ..
            }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    });
    let lines: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    lines.join(" ")
}
