//! Roles of messages, and their names in datasets.

/// Role whose messages are learned: the assistant.
pub(super) const ASSISTANT: &str = "assistant";
/// Roles that chat templates know.
const ROLES: [&str; 7] = [
    ASSISTANT,
    "user",
    "system",
    "tool",
    "developer",
    "function",
    "ipython",
];
/// Other names of roles in datasets, in lower case.
const ALIASES: [(&str, &str); 8] = [
    ("gpt", ASSISTANT),
    ("model", ASSISTANT),
    ("bot", ASSISTANT),
    ("chatbot", ASSISTANT),
    ("chatgpt", ASSISTANT),
    ("ai", ASSISTANT),
    ("human", "user"),
    ("prompter", "user"),
];
/// Returns the role for a dataset's name of it; `None` for an unknown name.
pub(super) fn known_role(name: &str) -> Option<&'static str> {
    let name = name.trim().to_lowercase();
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == name);
    let role = ROLES.into_iter().find(|role| *role == name);
    role.or_else(|| alias().map(|(_, role)| *role))
}

/// Further role names in ShareGPT's conversations with tools. The text of a call counts as text of the assistant.
const SHARE_GPT: [(&str, &str); 3] = [
    ("function_call", ASSISTANT),
    ("observation", "tool"),
    ("function_response", "tool"),
];

/// Returns the role for ShareGPT's name of it; `None` for an unknown name.
pub(crate) fn known_share_gpt_role(name: &str) -> Option<&'static str> {
    let lower = name.trim().to_lowercase();
    let found = SHARE_GPT.iter().find(|(alias, _)| *alias == lower);
    found.map(|(_, role)| *role).or_else(|| known_role(name))
}
