//! Table of the format instructions.

use super::FormatCheck::{self, *};
use super::FormatInstruction;

/// Table of the instructions: the request, and the check of the answer's form.
const INSTRUCTIONS: [(&str, FormatCheck); 72] = [
    (
        "Name some fruits that grow on trees. Give exactly three bullet points, each beginning with \"- \".",
        Bullets(3),
    ),
    (
        "What should I pack for a day at the beach? Answer with exactly four bullet points.",
        Bullets(4),
    ),
    (
        "List reasons to read every day. Use exactly two bullet points and no other list.",
        Bullets(2),
    ),
    (
        "Give me ideas for a rainy afternoon as exactly five bullet points.",
        Bullets(5),
    ),
    (
        "How do I make a cup of tea? Answer with a numbered list of exactly three steps (1., 2., 3.).",
        NumberedList(3),
    ),
    (
        "Name animals that live in the sea, as a numbered list with exactly five entries.",
        NumberedList(5),
    ),
    (
        "Explain how to plant a seed in a numbered list of exactly four steps.",
        NumberedList(4),
    ),
    (
        "Give two tips for a good night's sleep as a numbered list with exactly two entries.",
        NumberedList(2),
    ),
    (
        "Describe a forest in one sentence. Write everything in lowercase letters, with no capital letter at all.",
        LowerCase,
    ),
    (
        "What is a bicycle? Answer in all lowercase letters.",
        LowerCase,
    ),
    (
        "Write a short greeting for a neighbor. Use lowercase letters only.",
        LowerCase,
    ),
    (
        "Name the seasons of the year, entirely in lowercase.",
        LowerCase,
    ),
    (
        "Write a one-sentence warning about wet paint. Use capital letters only.",
        UpperCase,
    ),
    (
        "What color is the sky on a clear day? Answer in all capital letters.",
        UpperCase,
    ),
    (
        "Wish somebody a happy birthday in one sentence, in uppercase letters only.",
        UpperCase,
    ),
    (
        "Name a planet of the solar system in capital letters only.",
        UpperCase,
    ),
    (
        "Describe a cat as a JSON object with the keys \"name\" and \"color\". Answer with the JSON only.",
        JsonKeys(&["name", "color"]),
    ),
    (
        "Invent a book. Answer only with a JSON object that has the keys \"title\", \"author\" and \"year\".",
        JsonKeys(&["title", "author", "year"]),
    ),
    (
        "Give a city and its country as a JSON object with the keys \"city\" and \"country\", and nothing else.",
        JsonKeys(&["city", "country"]),
    ),
    (
        "Write a shopping list as a JSON object with the keys \"fruit\" and \"vegetable\". Answer with JSON only.",
        JsonKeys(&["fruit", "vegetable"]),
    ),
    (
        "Explain what a library is. Start your answer with the words \"A library is\".",
        StartsWith("A library is"),
    ),
    (
        "Tell me about the moon. Begin your answer with exactly \"The moon\".",
        StartsWith("The moon"),
    ),
    (
        "Describe a market on a Saturday. The first word of your answer must be \"Today\".",
        StartsWith("Today"),
    ),
    (
        "Give advice to a new student. Begin with \"Dear student,\".",
        StartsWith("Dear student,"),
    ),
    (
        "Describe how bread is made. End your answer with the sentence \"Enjoy your meal.\"",
        EndsWith("Enjoy your meal."),
    ),
    (
        "Tell a very short story about a dog. The last words must be \"The end.\"",
        EndsWith("The end."),
    ),
    (
        "Recommend a hobby. Finish your answer with the question \"Does that help?\"",
        EndsWith("Does that help?"),
    ),
    (
        "Explain why we wash our hands. End with exactly \"Stay well!\"",
        EndsWith("Stay well!"),
    ),
    (
        "Describe the taste of a lemon in one sentence that has no comma.",
        Without(','),
    ),
    (
        "Explain what rain is in two sentences, without using any commas.",
        Without(','),
    ),
    (
        "Name one thing in a kitchen. Your answer must not contain the letter \"e\".",
        Without('e'),
    ),
    (
        "Write one sentence about a dog that does not contain the letter \"z\" or any exclamation mark.",
        Without('!'),
    ),
    (
        "Write a sentence about winter without the letter \"x\" and without a question mark.",
        Without('?'),
    ),
    (
        "Describe an apple without using the word \"red\".",
        WithoutWord("red"),
    ),
    (
        "Explain what a car is without using the word \"vehicle\".",
        WithoutWord("vehicle"),
    ),
    (
        "Describe the sea without using the word \"water\".",
        WithoutWord("water"),
    ),
    (
        "Tell me about snow without using the word \"cold\".",
        WithoutWord("cold"),
    ),
    (
        "What is the capital of France? Answer with at most five words.",
        MaxWords(5),
    ),
    ("Describe a rose in at most ten words.", MaxWords(10)),
    (
        "Why do birds have wings? Use at most fifteen words.",
        MaxWords(15),
    ),
    (
        "Summarize what a teacher does in no more than twelve words.",
        MaxWords(12),
    ),
    (
        "Describe a walk through a park in at least forty words.",
        MinWords(40),
    ),
    (
        "Explain what a computer is good for. Use at least thirty words.",
        MinWords(30),
    ),
    (
        "Tell me about breakfast in at least fifty words.",
        MinWords(50),
    ),
    (
        "Describe the sound of a train. Write at least twenty-five words.",
        MinWords(25),
    ),
    (
        "Write about a garden. Use the word \"flower\" at least twice.",
        Keyword {
            word: "flower",
            times: 2,
        },
    ),
    (
        "Tell me about music. The word \"song\" must appear at least twice.",
        Keyword {
            word: "song",
            times: 2,
        },
    ),
    (
        "Describe a mountain. Use the word \"high\" at least once.",
        Keyword {
            word: "high",
            times: 1,
        },
    ),
    (
        "Write about friendship. Use the word \"trust\" at least three times.",
        Keyword {
            word: "trust",
            times: 3,
        },
    ),
    (
        "Give a motto for a school. Put your whole answer in double quotation marks.",
        Quoted,
    ),
    (
        "Say something kind to a tired friend. Wrap the entire answer in double quotation marks.",
        Quoted,
    ),
    (
        "Write a slogan for a bakery, and enclose the whole answer in double quotation marks.",
        Quoted,
    ),
    (
        "What would a pirate say? Your whole answer must be inside double quotation marks.",
        Quoted,
    ),
    (
        "Write a two-line poem about the sun. Give it a title in double angle brackets, such as <<title>>.",
        Title,
    ),
    (
        "Write a short note about honesty. It must have a title in double angle brackets, like <<this>>.",
        Title,
    ),
    (
        "Describe a river. Put a title, wrapped in double angle brackets such as <<River>>, above the text.",
        Title,
    ),
    (
        "Write three sentences about bees, with a title in double angle brackets (<<…>>).",
        Title,
    ),
    (
        "Write two paragraphs about cities. Separate them by a line with three asterisks: ***",
        Sections(2),
    ),
    (
        "Describe morning and evening in two paragraphs, separated by a line that contains only ***",
        Sections(2),
    ),
    (
        "Write three short paragraphs about three animals. Put a line with *** between two of them.",
        Sections(3),
    ),
    (
        "Compare cats and dogs in two paragraphs with a line of *** in between.",
        Sections(2),
    ),
    (
        "Explain sleep in exactly two paragraphs, separated by an empty line.",
        Paragraphs(2),
    ),
    (
        "Write about the ocean in exactly three paragraphs with an empty line between them.",
        Paragraphs(3),
    ),
    (
        "Describe your favorite meal in exactly one paragraph.",
        Paragraphs(1),
    ),
    (
        "Write an invitation to a party with at least three placeholders in square brackets, such as [date].",
        Placeholders(3),
    ),
    (
        "Write a letter of thanks with at least two placeholders in square brackets, such as [name].",
        Placeholders(2),
    ),
    (
        "Draft a note to a landlord. Use at least one placeholder in square brackets, such as [address].",
        Placeholders(1),
    ),
    (
        "Write a label for a jar of jam with at least two placeholders in square brackets, such as [fruit].",
        Placeholders(2),
    ),
    (
        "Is the sun a star? Answer only \"yes\" or \"no\".",
        OneOf(&["yes", "no"]),
    ),
    (
        "Is ice warmer than steam? Answer with one word: \"true\" or \"false\".",
        OneOf(&["true", "false"]),
    ),
    (
        "Do fish live in water? Reply only with \"agree\", \"disagree\" or \"unsure\".",
        OneOf(&["agree", "disagree", "unsure"]),
    ),
    (
        "Which is larger, a mouse or an elephant? Answer with that one word only.",
        OneOf(&["mouse", "elephant"]),
    ),
];

/// Returns the format instructions, each with its id.
pub fn format_instructions() -> Vec<FormatInstruction> {
    let numbered = INSTRUCTIONS.iter().enumerate();
    numbered
        .map(|(at, (prompt, check))| FormatInstruction {
            id: format!("{}-{}", check.kind(), at + 1),
            prompt,
            check: *check,
        })
        .collect()
}
