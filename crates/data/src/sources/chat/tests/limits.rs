//! Tests of the limits on the steps, the memory and the depth of chat templates.

use serde_json::json;

use super::*;

/// Checks that templates that loop, double a text, nest or print endlessly give errors and do not crash the process.
#[test]
fn hostile_templates_are_stopped() {
    let sources = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}".to_owned(),
        "{% set n = namespace(x='aaaaaaaa') %}{% for a in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}".into(),
        "{% set n = namespace(x='aaaaaaaa') %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}".into(),
        // Lists that contain each other take time without using steps.
        "{% set n = namespace(x=[1]) %}{% for a in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}".into(),
        "{% set x = 'a' * 99999999999 %}".into(),
        "{{ 'aaaaaaaa' * 9999999 * 9999999 }}".into(),
        "{{ [1] * 99999999999 }}".into(),
        "{{ messages | tojson(indent=99999999999) }}".into(),
        "{{ 'a' | indent(99999999999) }}".into(),
        "{{ 'a'.ljust(99999999999) }}".into(),
        "{{ 'a'.zfill(99999999999) }}".into(),
        "{{ 'a'.center(99999999999) }}".into(),
        "{{ '%99999999999d' | format(1) }}".into(),
        "{{ '%99999999999d' % 1 }}".into(),
        "{{ range(99999999999) }}".into(),
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}".into(),
        "{% set n = namespace(x='a' * 9999) %}{% for a in range(9) %}{% set n.x = n.x.replace('a', n.x) %}{% endfor %}".into(),
        "{% set n = namespace(x=['a' * 9999]) %}{% for a in range(9) %}{% set n.x = [n.x | join(n.x | join)] * 9999 %}{% endfor %}"
            .into(),
    ];
    for source in sources {
        let built = std::panic::catch_unwind(|| template(&source));
        let Ok(template) = built else {
            panic!("{source}");
        };
        match parts_of(&template, &talk()) {
            Ok((parts, _)) => panic!("{source}: {} bytes", text(&parts).len()),
            Err(error) => assert!(error.contains("chat_template.jinja"), "{source}: {error}"),
        }
    }
}

/// Checks that values and sources nested up to the limits give an error or a text, and never overflow the stack.
#[test]
fn deep_templates_are_stopped() {
    let nested = "{% set n = namespace(x=[]) %}{% for a in range(9999) %}{% for b in range(99) %}\
                  {% set n.x = [n.x] %}{% endfor %}{% endfor %}";
    let sources = [
        format!("{{{{ {}true }}}}", "not ".repeat(32_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ 1{} }}}}", "~1".repeat(60_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(60_000), "]".repeat(60_000)),
        format!("{{{{ {}1{} }}}}", "(".repeat(60_000), ")".repeat(60_000)),
        format!("{{{{ messages{} }}}}", "|list".repeat(20_000)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(10_000)),
        nested.to_owned(),
        format!("{nested}{{{{ n.x }}}}"),
        format!("{nested}{{{{ n.x | tojson }}}}"),
    ];
    for source in sources {
        let file = Path::new("chat_template.jinja");
        let source = source + TURNS;
        let built = ChatTemplate::new(file, vec![(DEFAULT, source)], BTreeMap::new(), Vec::new());
        if let Ok(template) = built {
            let _ = parts_of(&template, &talk());
        }
    }
    let long = "a".repeat(1 << 18);
    let built = ChatTemplate::new(
        Path::new("x"),
        vec![(DEFAULT, long)],
        BTreeMap::new(),
        Vec::new(),
    );
    assert!(built.err().unwrap().to_string().contains("131072"));
}

/// Checks that a template that exceeds the limit of steps for several conversations in a row is not rendered again.
#[test]
fn templates_that_never_end_are_given_up() {
    let template =
        template("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}");
    for number in 1..=MOST_SPENT {
        assert!(template.hung.get().is_none(), "{number}");
        let error = parts_of(&template, &talk()).unwrap_err();
        assert!(
            error.contains("it takes more than 4000000 steps"),
            "{error}"
        );
    }
    assert!(template.hung.get().is_some());
    let long = "{% for a in range(9999) %}{% for b in range(messages | length * 999) %}{% endfor %}{% endfor %}\
                {% for m in messages %}{{ m.content }}{% endfor %}";
    // If a conversation in between is rendered, only the others are too long, and the template is kept.
    let template = self::template(&format!(
        "{{% if messages | length > 2 %}}{long}{{% endif %}}"
    ));
    let short = json!({"messages": []});
    for _ in 0..=MOST_SPENT {
        parts_of(&template, &talk()).unwrap_err();
        parts_of(&template, &short).unwrap();
    }
    assert!(template.hung.get().is_none());
}
