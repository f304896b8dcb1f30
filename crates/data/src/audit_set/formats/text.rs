//! Functions that find parts of a model's answer: list items, words, paragraphs, sections, quotation marks.

/// Counts the lines that begin with a bullet and have text after it.
pub fn bulleted(answer: &str) -> usize {
    answer.lines().filter(|line| is_bullet(line)).count()
}

fn is_bullet(line: &str) -> bool {
    let after = line.trim_start().strip_prefix(['-', '*', '•']);
    // A horizontal rule such as `- - -` is not a bullet.
    after.is_some_and(|rest| {
        rest.starts_with([' ', '\t']) && rest.chars().any(char::is_alphanumeric)
    })
}

/// Counts the items of a numbered list; `None` if the numbers are not 1, 2, 3 and so on.
pub fn numbered(answer: &str) -> Option<usize> {
    let numbers: Vec<usize> = answer.lines().filter_map(number).collect();
    numbers
        .iter()
        .copied()
        .eq(1..=numbers.len())
        .then_some(numbers.len())
}

/// Returns the number at the beginning of a list item such as `3. text` or `3) text`.
fn number(line: &str) -> Option<usize> {
    let (digits, text) = line.trim_start().split_once(['.', ')'])?;
    let is_item = text.starts_with([' ', '\t']) && !text.trim().is_empty();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_item && is_number {
        digits.parse().ok()
    } else {
        None
    }
}

/// Returns the content of the Markdown fence if the answer is one fence, else the whole answer.
pub fn unfenced(answer: &str) -> &str {
    let inside = answer
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"));
    let Some((language, content)) = inside.and_then(|inside| inside.split_once('\n')) else {
        return answer;
    };
    if language.trim().chars().all(char::is_alphanumeric) {
        content
    } else {
        answer
    }
}

/// Returns the words of an answer in lower case, without punctuation; `don't` is one word.
pub fn words(answer: &str) -> impl Iterator<Item = String> {
    let is_inside = |sign: char| sign.is_alphanumeric() || sign == '\'' || sign == '’';
    let words = answer.split(move |sign| !is_inside(sign));
    words
        .map(|word| word.trim_matches(['\'', '’']).to_lowercase())
        .filter(|word| !word.is_empty())
}

/// Returns true if one pair of double quotation marks encloses the answer.
pub fn is_quoted(answer: &str) -> bool {
    let pairs = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»')];
    pairs.into_iter().any(|(open, close)| {
        let inside = answer
            .strip_prefix(open)
            .and_then(|rest| rest.strip_suffix(close));
        inside.is_some_and(|inside| !inside.trim().is_empty() && !inside.contains([open, close]))
    })
}

/// Counts the sections with text, which are separated by lines of `***`.
pub fn sections(answer: &str) -> usize {
    let lines: Vec<&str> = answer.lines().map(str::trim).collect();
    let mut parts = lines.split(|line| *line == "***");
    let count = parts.clone().count();
    // A separator with nothing on one side makes an empty part, which is not a section.
    let have_text = parts.all(|part| part.iter().any(|line| !line.is_empty()));
    if have_text { count } else { 0 }
}

/// Counts the paragraphs, which are separated by lines without text.
pub fn paragraphs(answer: &str) -> usize {
    let (mut count, mut is_inside) = (0, false);
    for line in answer.lines() {
        let has_text = !line.trim().is_empty();
        count += usize::from(has_text && !is_inside);
        is_inside = has_text;
    }
    count
}
