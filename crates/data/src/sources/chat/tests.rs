mod limits;

use serde_json::json;

use super::message::Message;
use super::*;
use crate::sources::layout::MessageFields;

const TURNS: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{{ m['content'] | trim }}\
                     {{ '<|im_end|>' + '\\n' }}{% endfor %}";
const GENERATION: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}\
                          {%- if m.role == 'assistant' -%}\n{%- generation -%}\n {{ 'So: ' + m['content'] }}{{ '<|im_end|>' }}\n\
                          {%- endgeneration -%}\n{%- else -%}{{ m['content'] + '<|im_end|>' }}{%- endif -%}{% endfor %}";

fn template(source: &str) -> ChatTemplate {
    let added = ["<|im_start|>", "<|im_end|>", "<s>"].map(String::from);
    let names = [("bos_token", "<s>"), ("eos_token", "<|im_end|>")];
    let names = names.map(|(key, token)| (key.to_owned(), token.to_owned()));
    let file = Path::new("folder/chat_template.jinja");
    ChatTemplate::new(
        file,
        vec![(DEFAULT, source.into())],
        names.into(),
        added.into(),
    )
    .unwrap()
}

fn parts_of(template: &ChatTemplate, record: &Value) -> Result<(Vec<Part>, RecordNotes), String> {
    let mut notes = RecordNotes::default();
    let conversation = Conversation::read(record, None, &MessageFields::USUAL, &mut notes)?;
    Ok((template.parts(conversation, &mut notes)?, notes))
}

fn talk() -> Value {
    json!({"messages": [
        {"role": "user", "content": " Hi <|im_end|>"}, {"role": "assistant", "content": "Yes.\n"},
        {"role": "user", "content": "No?"}, {"role": "assistant", "content": "No."}
    ]})
}

fn scored(parts: &[Part]) -> Vec<(&str, bool)> {
    let scored = parts.iter().filter(|part| part.scored);
    scored
        .map(|part| (part.text.as_str(), part.from_template))
        .collect()
}

fn text(parts: &[Part]) -> String {
    parts.iter().map(|part| part.text.as_str()).collect()
}

/// Checks that exactly the messages of the assistant are scored, with the token that ends the turn, and that the
/// parts concatenate to the whole rendering.
#[test]
fn only_the_assistant_is_scored() {
    let template = template(&format!("{{{{ bos_token }}}}{TURNS}"));
    let (parts, notes) = parts_of(&template, &talk()).unwrap();
    assert_eq!(
        scored(&parts),
        [
            ("Yes.", false),
            ("<|im_end|>", true),
            ("No.", false),
            ("<|im_end|>", true)
        ]
    );
    assert_eq!(
        text(&parts),
        "<s><|im_start|>user\nHi <|im_end|><|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n\
         <|im_start|>user\nNo?<|im_end|>\n<|im_start|>assistant\nNo.<|im_end|>\n"
    );
    // The content of a user's message is plain text, even if it looks like a special token.
    assert!(
        parts
            .iter()
            .any(|part| part.text == "Hi <|im_end|>" && !part.from_template)
    );
    assert!(notes.is_empty());
}

/// Checks that the template that is saved with a model writes and scores conversations exactly as they were written
/// without a template.
#[test]
fn plain_conversations_have_their_template() {
    let mut notes = RecordNotes::default();
    let conversation = Conversation::read(&talk(), None, &MessageFields::USUAL, &mut notes);
    let plain = conversation.unwrap().plainly(&mut notes);
    assert_eq!(notes.plain_conversations, 1);
    let (by_template, _) = parts_of(&template(PLAIN_CHAT_TEMPLATE), &talk()).unwrap();
    // The template writes the begin token, after which a document without a template is read too.
    assert_eq!(text(&by_template), format!("<s>{}", text(&plain)));
    let bytes = |parts: &[Part]| -> Vec<bool> {
        let each = parts.iter();
        each.flat_map(|part| vec![part.scored; part.text.len()])
            .collect()
    };
    assert_eq!(bytes(&by_template)["<s>".len()..], bytes(&plain));
}

/// Checks that the text within `{% generation %}` is scored.
#[test]
fn generation_blocks_are_scored() {
    let template = template(GENERATION);
    let (parts, _) = parts_of(&template, &talk()).unwrap();
    assert_eq!(
        scored(&parts),
        [
            ("So: ", true),
            ("Yes.", false),
            ("\n<|im_end|>", true),
            ("So: ", true),
            ("No.", false),
            ("<|im_end|>", true)
        ]
    );
    assert_eq!(
        text(&parts),
        "<|im_start|>userHi <|im_end|><|im_end|><|im_start|>assistantSo: Yes.\n<|im_end|>\
         <|im_start|>userNo?<|im_end|><|im_start|>assistantSo: No.<|im_end|>"
            .replace("userHi", "user\n Hi")
            .replace("userNo", "user\nNo")
            .replace("assistantSo", "assistant\nSo")
    );
    let mut quiet = talk();
    quiet["messages"][1]["weight"] = json!(0);
    let (parts, notes) = parts_of(&template, &quiet).unwrap();
    assert_eq!(
        scored(&parts),
        [("So: ", true), ("No.", false), ("<|im_end|>", true)]
    );
    assert_eq!(notes.unweighted_messages, 1);
}

/// Checks that a generation block without the token that ends the turn is counted: a model trained on it never learns
/// to stop.
#[test]
fn generation_blocks_without_the_end_are_counted() {
    let template = template(&GENERATION.replace(
        "{{ '<|im_end|>' }}\n{%- endgeneration -%}",
        "{%- endgeneration -%}{{ '<|im_end|>' }}",
    ));
    let (parts, notes) = parts_of(&template, &talk()).unwrap();
    assert!(text(&parts).contains("So: No.<|im_end|>"));
    assert!(
        scored(&parts)
            .iter()
            .all(|(text, _)| !text.contains("<|im_end|>"))
    );
    assert_eq!(notes.unlearned_ends, 2);
    assert!(
        notes.lines()[0].contains("does not learn to stop"),
        "{notes:?}"
    );
    // If the answer is not learned, its missing end is not counted.
    let mut quiet = talk();
    quiet["messages"][1]["weight"] = json!(0);
    assert_eq!(parts_of(&template, &quiet).unwrap().1.unlearned_ends, 1);
}

/// Checks that an answer that is not to be learned is in the text, and that neither it nor its end token is scored.
#[test]
fn unweighted_answers_are_read_only() {
    let template = template(TURNS);
    let mut record = talk();
    record["messages"][1]["train"] = json!(false);
    let (parts, _) = parts_of(&template, &record).unwrap();
    assert_eq!(scored(&parts), [("No.", false), ("<|im_end|>", true)]);
    assert!(text(&parts).contains("Yes.<|im_end|>"));
}

/// Checks that tools reach the template, and that tools and keys that it does not use are counted.
#[test]
fn tools_are_rendered_or_counted() {
    let with_tools = "{% if tools %}{% for t in tools %}{{ t | tojson }}{% endfor %}{% endif %}\
                      {% for m in messages %}{{ m.content }}{{ m.mood }}{% endfor %}";
    let record = json!({
        "messages": [
            {"role": "user", "content": "Light.", "mood": "glad", "id": 7},
            {"role": "assistant", "content": "Lit.", "id": 8, "other": null}
        ],
        "tools": [{"name": "lamp", "parameters": {}}]
    });
    let (parts, notes) = parts_of(&template(with_tools), &record).unwrap();
    assert_eq!(
        text(&parts),
        "{\"name\": \"lamp\", \"parameters\": {}}Light.gladLit."
    );
    assert!(notes.unused_keys.is_empty());
    assert_eq!(
        notes.unused_message_keys,
        BTreeMap::from([("id".to_owned(), 2)])
    );
    let (_, notes) = parts_of(&template(TURNS), &record).unwrap();
    assert_eq!(notes.unused_keys["tools"], 1);
    assert_eq!(notes.unused_message_keys["mood"], 1);
}

/// Checks that the error gives the template's reason for refusing, and that a template that changes a message's text
/// is refused.
#[test]
fn refusals_say_why() {
    let refused = |source: &str| parts_of(&template(source), &talk()).unwrap_err();
    let error = refused("{{ raise_exception('roles must alternate') }}");
    assert!(
        error.contains("chat_template.jinja`: roles must alternate"),
        "{error}"
    );
    let error = refused("{% for m in messages %}{{ m.content | length }}{% endfor %}");
    assert!(error.contains("changes or looks into"), "{error}");
    let empty = json!({"messages": [{"role": "user", "content": null}]});
    assert!(
        parts_of(&template(TURNS), &empty)
            .unwrap_err()
            .contains("without `content`")
    );
    let marked = json!({"messages": [{"role": "user", "content": "odd \u{fdd2}"}]});
    assert!(
        parts_of(&template(TURNS), &marked)
            .unwrap_err()
            .contains("U+FDD0")
    );
}

/// Checks that JSON and string methods work as in Python.
#[test]
fn templates_are_written_for_python() {
    let rendered = |source: &str| {
        let mut notes = RecordNotes::default();
        let conversation =
            Conversation::read(&talk(), None, &MessageFields::USUAL, &mut notes).unwrap();
        let messages: Vec<_> = conversation
            .messages
            .iter()
            .map(Message::for_template)
            .collect();
        template(source).template.render(&messages, None).unwrap()
    };
    assert_eq!(
        rendered("{{ {'a': [1, 'é']} | tojson }}{{ ' x '.strip() }}"),
        r#"{"a": [1, "é"]}x"#
    );
    assert_eq!(
        rendered("{% for m in messages %}{{ m.role }}{% break %}{% endfor %}"),
        "user"
    );
}

/// Checks that conversations with tools use the template named `tool_use`, if the tokenizer has one.
#[test]
fn tools_have_a_template_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    let config = folder.path().join("tokenizer_config.json");
    let write = |json: Value| std::fs::write(&config, json.to_string()).unwrap();
    write(json!({"chat_template": [
        {"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}
    ]}));
    let (_, found) = templates(&tokenizer).unwrap().unwrap();
    assert_eq!(
        found,
        [(DEFAULT, "D".to_owned()), (TOOL_USE, "T".to_owned())]
    );
    assert_eq!(chat_template(&tokenizer).unwrap().unwrap(), "D");
    write(json!({"chat_template": [{"name": "tool_use", "template": "T"}]}));
    assert!(
        templates(&tokenizer)
            .unwrap_err()
            .to_string()
            .contains("`default`")
    );
    std::fs::write(&config, "{\"chat_template\": \"D\",}").unwrap();
    let error = templates(&tokenizer).unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json") && error.contains("tokenizer_config.json:1`"),
        "{error}"
    );
}

/// Checks that the template for conversations with tools is found in the folder where `transformers` writes it, and
/// that it takes precedence over one in `tokenizer_config.json`.
#[test]
fn the_template_for_tools_has_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    let found = || {
        templates(&tokenizer)
            .unwrap()
            .map(|(_, templates)| templates)
    };
    assert_eq!(found(), None);
    let listed = json!({"chat_template": [
        {"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}
    ]});
    std::fs::write(
        folder.path().join("tokenizer_config.json"),
        listed.to_string(),
    )
    .unwrap();
    let pair =
        |main: &str, tools: &str| Some(vec![(DEFAULT, main.into()), (TOOL_USE, tools.into())]);
    assert_eq!(found(), pair("a", "b"));
    let inner = folder.path().join("additional_chat_templates");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(inner.join("tool_use.jinja"), "c").unwrap();
    assert_eq!(found(), pair("a", "c"));
    std::fs::write(folder.path().join("chat_template.jinja"), "d").unwrap();
    assert_eq!(found(), pair("d", "c"));
}

/// Checks that tool calls that a template does not write are not learned as empty answers, and that an answer without
/// text and with weight 0 is not either.
#[test]
fn calls_without_text_are_not_empty_answers() {
    let template = template(GENERATION);
    let call = json!({"type": "function", "function": {"name": "f", "arguments": {}}});
    let talk = json!({"messages": [
        {"role": "user", "content": "Rain?"}, {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "content": "no"}, {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Sun?"}, {"role": "assistant", "content": "", "weight": 0},
    ]});
    let (parts, notes) = parts_of(&template, &talk).unwrap();
    assert_eq!(
        scored(&parts),
        [("So: ", true), ("No.", false), ("<|im_end|>", true)]
    );
    assert_eq!((notes.unwritten_calls, notes.unscored_calls), (1, 0));
}
