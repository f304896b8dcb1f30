//! Configuration structs, read from the sources: keys, types, defaults and doc comments.

use std::collections::BTreeMap;
use std::path::Path;

use quote::ToTokens;
use syn::{Expr, Fields, Item, Type};

use super::syntax::{arguments, collect, doc, has_word, kebab_case, last, quoted, serde};

/// All structs, enums, defaults and constants of the workspace that a configuration may use.
#[derive(Default)]
pub struct Sources {
    /// Structs by name, each with its crate, since several may have one name.
    structs: BTreeMap<String, Vec<(String, Table)>>,
    /// Values of enums without data.
    enums: BTreeMap<String, Choice>,
    /// Values of constants and of functions without arguments, by scope (`crate:file`) and name.
    values: BTreeMap<(String, String), String>,
    /// Defaults of fields in `impl Default`, by struct and field.
    defaults: BTreeMap<(String, String), String>,
    /// Types that type aliases stand for.
    aliases: BTreeMap<String, Type>,
}

/// Struct that describes a table of a configuration.
#[derive(Clone)]
pub struct Table {
    /// Name of the struct.
    pub name: String,
    /// Crate that defines the struct.
    pub krate: String,
    /// First paragraph of the struct's doc comment.
    pub doc: String,
    /// Keys, in the order of the fields.
    pub keys: Vec<Key>,
    /// Struct that the table is deserialized to before this one.
    from: Option<String>,
}

/// Key of a table.
#[derive(Clone)]
pub struct Key {
    pub name: String,
    pub aliases: Vec<String>,
    pub doc: String,
    pub kind: Kind,
    /// Default of the key as TOML, if TOML can express it.
    pub default: Option<String>,
    pub required: bool,
}

/// Type of a key's value.
#[derive(Clone, PartialEq)]
pub enum Kind {
    /// Value described in words.
    Plain(String),
    /// Value that is one of these words.
    Choice(Vec<String>),
    /// Value that is a table, described by this struct.
    Table(String),
    /// Value that contains tables by name, each described by this struct.
    Tables(String),
}

#[derive(Clone, Default)]
struct Choice {
    values: Vec<String>,
    default: Option<String>,
}

/// Returns the crate of a scope, `crate:file`.
fn krate(scope: &str) -> &str {
    scope.split(':').next().unwrap_or_default()
}

impl Sources {
    /// Reads every source file of the workspace's crates.
    pub fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        for krate in std::fs::read_dir(root.join("crates")).unwrap() {
            let krate = krate.unwrap().path();
            let name = krate.file_name().unwrap().to_str().unwrap().to_owned();
            collect(&krate.join("src"), &mut |path| {
                let text = std::fs::read_to_string(path).unwrap();
                let file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{path:?}: {e}"));
                files.push((format!("{name}:{}", path.display()), file));
            });
        }
        let mut sources = Self::default();
        // Values come first, since structs refer to them, and twice, since values refer to each other.
        for (scope, file) in files.iter().chain(&files) {
            sources.take_values(scope, &file.items);
        }
        for (scope, file) in &files {
            sources.take_structs(scope, &file.items);
        }
        sources
    }

    /// Returns the struct of this name, preferring the one of `krate` if there are several.
    pub fn table(&self, name: &str, krate: &str) -> Option<Table> {
        let found = self.structs.get(name)?;
        let own = found.iter().find(|(of, _)| of == krate);
        let mut table = own.or(found.first())?.1.clone();
        if let Some(from) = table.from.take() {
            let file = self.table(&from, &table.krate.clone())?;
            let docs: BTreeMap<_, _> = table
                .keys
                .iter()
                .map(|key| (key.name.clone(), key.doc.clone()))
                .collect();
            table.keys = file.keys;
            for key in &mut table.keys {
                if key.doc.is_empty() {
                    key.doc = docs.get(&key.name).cloned().unwrap_or_default();
                }
            }
        }
        Some(table)
    }

    fn take_values(&mut self, scope: &str, items: &[Item]) {
        for item in items {
            match item {
                Item::Const(item) => self.keep(scope, &item.ident.to_string(), &item.expr),
                Item::Fn(item) => {
                    if let (true, [syn::Stmt::Expr(value, None)]) =
                        (item.sig.inputs.is_empty(), &item.block.stmts[..])
                    {
                        self.keep(scope, &item.sig.ident.to_string(), value);
                    }
                }
                Item::Mod(item) => {
                    if let Some((_, items)) = &item.content {
                        self.take_values(scope, items);
                    }
                }
                Item::Type(item) => {
                    let name = item.ident.to_string();
                    self.aliases.insert(name, (*item.ty).clone());
                }
                Item::Enum(item) => self.take_enum(item),
                Item::Impl(item) => self.take_default(scope, item),
                _ => {}
            }
        }
    }

    fn keep(&mut self, scope: &str, name: &str, value: &Expr) {
        if let Some(value) = self.toml(scope, value) {
            self.values.insert((scope.into(), name.into()), value);
        }
    }

    /// Returns the value of this name from the same file, or else from the same crate.
    fn value(&self, scope: &str, name: &str) -> Option<String> {
        let own = self.values.get(&(scope.to_owned(), name.to_owned()));
        let of_crate = || {
            let mut all = self.values.iter();
            let found = all.find(|((other, of), _)| of == name && krate(other) == krate(scope))?;
            Some(found.1)
        };
        own.or_else(of_crate).cloned()
    }

    fn take_enum(&mut self, item: &syn::ItemEnum) {
        let lower = serde(&item.attrs).any(|text| text.contains("rename_all = \"lowercase\""));
        let kebab = serde(&item.attrs).any(|text| text.contains("rename_all = \"kebab-case\""));
        let mut choice = Choice::default();
        for variant in &item.variants {
            if !matches!(variant.fields, Fields::Unit) {
                return;
            }
            let name = variant.ident.to_string();
            let renamed = serde(&variant.attrs).find_map(|text| quoted(&text, "rename = "));
            let name = match renamed {
                Some(name) => name,
                None if kebab => kebab_case(&name),
                None if lower => name.to_lowercase(),
                None => name,
            };
            if variant
                .attrs
                .iter()
                .any(|attr| attr.path().is_ident("default"))
            {
                choice.default = Some(format!("\"{name}\""));
            }
            choice.values.push(name);
        }
        self.enums.insert(item.ident.to_string(), choice);
    }

    fn take_default(&mut self, scope: &str, item: &syn::ItemImpl) {
        let is_default = item
            .trait_
            .as_ref()
            .is_some_and(|(_, path, _)| path.is_ident("Default"));
        let Some(syn::ImplItem::Fn(function)) = item.items.first().filter(|_| is_default) else {
            return;
        };
        if let Some(syn::Stmt::Expr(Expr::Struct(value), None)) = function.block.stmts.last() {
            let name = item.self_ty.to_token_stream().to_string();
            for field in &value.fields {
                if let Some(text) = self.toml(scope, &field.expr) {
                    let key = field.member.to_token_stream().to_string();
                    self.defaults.insert((name.clone(), key), text);
                }
            }
        }
    }

    /// Returns an expression as TOML, or `None` if TOML can't express it.
    fn toml(&self, scope: &str, value: &Expr) -> Option<String> {
        match value {
            Expr::Lit(value) => Some(value.lit.to_token_stream().to_string()),
            Expr::Array(array) => {
                let parts: Option<Vec<_>> =
                    array.elems.iter().map(|e| self.toml(scope, e)).collect();
                Some(format!("[{}]", parts?.join(", ")))
            }
            Expr::Macro(call) if call.mac.path.is_ident("vec") => {
                Some(format!("[{}]", call.mac.tokens).replace(" ,", ","))
            }
            Expr::Call(call) => {
                let function = call.func.to_token_stream().to_string();
                (function == "Vec :: new").then(|| "[]".to_owned())
            }
            Expr::MethodCall(call) => {
                // Conversions of a constant: `NAMES.map(String::from).to_vec()`, `"f32".into()`.
                let known = ["map", "to_vec", "into", "to_owned", "to_string", "clone"];
                let name = call.method.to_string();
                known
                    .contains(&name.as_str())
                    .then(|| self.toml(scope, &call.receiver))?
            }
            Expr::Path(path) => {
                let name = path.path.segments.last()?.ident.to_string();
                let variant = self
                    .enums
                    .get(&path.path.segments.first()?.ident.to_string());
                if let Some(choice) = variant {
                    let word = choice
                        .values
                        .iter()
                        .find(|v| v.eq_ignore_ascii_case(&name))?;
                    return Some(format!("\"{word}\""));
                }
                self.value(scope, &name)
            }
            _ => None,
        }
    }

    fn take_structs(&mut self, scope: &str, items: &[Item]) {
        for item in items {
            let Item::Struct(item) = item else { continue };
            let derives = item.attrs.iter().any(|attr| {
                attr.path().is_ident("derive")
                    && attr.to_token_stream().to_string().contains("Deserialize")
            });
            if !derives {
                continue;
            }
            let all_default = serde(&item.attrs).any(|text| has_word(&text, "default"));
            let name = item.ident.to_string();
            let keys = item
                .fields
                .iter()
                .filter_map(|field| self.key(scope, &name, field, all_default));
            let table = Table {
                name: name.clone(),
                krate: krate(scope).into(),
                doc: doc(&item.attrs),
                keys: keys.collect(),
                from: serde(&item.attrs).find_map(|text| quoted(&text, "from = ")),
            };
            self.structs
                .entry(name)
                .or_default()
                .push((krate(scope).into(), table));
        }
    }

    fn key(&self, scope: &str, table: &str, field: &syn::Field, all_default: bool) -> Option<Key> {
        let name = field.ident.as_ref()?.to_string();
        let attributes: Vec<String> = serde(&field.attrs).collect();
        let with = |word: &str| attributes.iter().find_map(|text| quoted(text, word));
        if attributes.iter().any(|text| has_word(text, "skip")) {
            return None;
        }
        let (kind, optional) = self.kind(&field.ty);
        let has_default = all_default || attributes.iter().any(|text| has_word(text, "default"));
        let stated = with("default = ").and_then(|path| {
            let name = path.rsplit("::").next()?.to_owned();
            self.value(scope, &name)
        });
        let of_struct = self
            .defaults
            .get(&(table.to_owned(), name.clone()))
            .cloned();
        let of_type = || match (&kind, optional) {
            (_, true) => None,
            (Kind::Plain(word), _) if word == "true or false" => Some("false".to_owned()),
            (Kind::Plain(word), _) if word == "number" => Some("0.0".to_owned()),
            (Kind::Plain(word), _) if word == "integer" => Some("0".to_owned()),
            (Kind::Plain(word), _) if word.starts_with("list") => Some("[]".to_owned()),
            (Kind::Choice(_), _) => self.enums.get(&last(&field.ty))?.default.clone(),
            _ => None,
        };
        // A struct's own `Default` decides the defaults of all its fields. One that can't be read is not guessed.
        let own = all_default && self.defaults.keys().any(|(of, _)| of == table);
        let default = match (has_default, with("default = ")) {
            (false, _) => None,
            (true, Some(_)) => stated,
            (true, None) if own => of_struct,
            (true, None) => of_type(),
        };
        Some(Key {
            name: with("rename = ").unwrap_or(name),
            aliases: attributes
                .iter()
                .filter_map(|text| quoted(text, "alias = "))
                .collect(),
            doc: doc(&field.attrs),
            required: !has_default && !optional,
            default,
            kind,
        })
    }

    /// Returns the kind of a type, and true if it is an `Option`.
    fn kind(&self, ty: &Type) -> (Kind, bool) {
        let plain = |word: &str| (Kind::Plain(word.into()), false);
        let name = last(ty);
        let arguments = arguments(ty);
        match (name.as_str(), &arguments[..]) {
            ("Option", [inner]) => (self.kind(inner).0, true),
            ("Vec", [inner]) => match self.kind(inner).0 {
                Kind::Plain(word) => plain(&format!("list of {word}s")),
                _ => plain("list"),
            },
            ("BTreeMap" | "HashMap" | "IndexMap", [_, inner]) => match self.kind(inner).0 {
                Kind::Table(name) => (Kind::Tables(name), false),
                Kind::Plain(word) => plain(&format!("table of {word}s by name")),
                _ => plain("table"),
            },
            ("PathBuf", _) => plain("path"),
            ("String", _) => plain("text"),
            ("bool", _) => plain("true or false"),
            ("f64" | "f32", _) => plain("number"),
            ("u64" | "usize" | "u32" | "i64", _) => plain("integer"),
            ("Interval", _) => plain("integer, steps, or `\"never\"`"),
            ("Table" | "Value", _) => plain("table"),
            _ if self.enums.contains_key(&name) => {
                (Kind::Choice(self.enums[&name].values.clone()), false)
            }
            _ if self.aliases.contains_key(&name) => self.kind(&self.aliases[&name]),
            _ => (Kind::Table(name), false),
        }
    }
}
