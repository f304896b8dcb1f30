//! Multiple-choice items on word meanings, common sense and code.

use super::fact_question::FactQuestion;

/// Table of the items: question, right answer and three wrong answers.
const ITEMS: [(&str, &str, [&str; 3]); 42] = [
    (
        "What is the opposite of \"early\"?",
        "late",
        ["soon", "first", "quick"],
    ),
    (
        "What is the opposite of \"empty\"?",
        "full",
        ["hollow", "open", "light"],
    ),
    (
        "What is the opposite of \"to buy\"?",
        "to sell",
        ["to pay", "to own", "to choose"],
    ),
    (
        "What is the opposite of \"brave\"?",
        "cowardly",
        ["strong", "angry", "careful"],
    ),
    (
        "What is the opposite of \"to forget\"?",
        "to remember",
        ["to lose", "to think", "to leave"],
    ),
    (
        "What is the opposite of \"narrow\"?",
        "wide",
        ["long", "thin", "deep"],
    ),
    (
        "Which word means the same as \"to begin\"?",
        "to start",
        ["to end", "to wait", "to carry"],
    ),
    (
        "Which word means the same as \"quick\"?",
        "fast",
        ["slow", "heavy", "sharp"],
    ),
    (
        "Which word means the same as \"to repair\"?",
        "to fix",
        ["to break", "to paint", "to hide"],
    ),
    (
        "Which word means the same as \"enormous\"?",
        "huge",
        ["tiny", "old", "round"],
    ),
    (
        "What is the plural of \"child\"?",
        "children",
        ["childs", "childes", "child's"],
    ),
    (
        "What is the past tense of \"to go\"?",
        "went",
        ["goed", "gone", "going"],
    ),
    (
        "What is the past tense of \"to write\"?",
        "wrote",
        ["writed", "written", "writes"],
    ),
    (
        "What is the plural of \"mouse\"?",
        "mice",
        ["mouses", "mouse", "mices"],
    ),
    (
        "What do you use to cut bread?",
        "a knife",
        ["a spoon", "a pillow", "a towel"],
    ),
    (
        "Where do you keep milk so that it stays fresh?",
        "in the refrigerator",
        ["on the roof", "in the oven", "under the bed"],
    ),
    (
        "What do you wear on your feet?",
        "shoes",
        ["gloves", "a hat", "a scarf"],
    ),
    (
        "What falls from the sky in winter?",
        "snow",
        ["sand", "leaves of grass", "coins"],
    ),
    (
        "What do you need in order to see in the dark?",
        "a lamp",
        ["a spoon", "a chair", "a pencil"],
    ),
    (
        "Who works in a hospital?",
        "a nurse",
        ["a sailor", "a farmer", "a pilot"],
    ),
    (
        "Who puts out fires?",
        "a firefighter",
        ["a baker", "a judge", "a tailor"],
    ),
    (
        "What do you do with a book?",
        "read it",
        ["drink it", "wear it", "plant it"],
    ),
    (
        "What happens to ice in the sun?",
        "It melts.",
        ["It grows.", "It burns.", "It sings."],
    ),
    (
        "Which day comes after Tuesday?",
        "Wednesday",
        ["Monday", "Friday", "Sunday"],
    ),
    (
        "Which month comes before May?",
        "April",
        ["June", "August", "January"],
    ),
    (
        "Which season comes after spring?",
        "summer",
        ["winter", "autumn", "night"],
    ),
    (
        "How many days are in a week?",
        "seven",
        ["five", "ten", "twelve"],
    ),
    (
        "How many minutes are in an hour?",
        "sixty",
        ["thirty", "ninety", "one hundred"],
    ),
    (
        "How many legs does a spider have?",
        "eight",
        ["six", "four", "ten"],
    ),
    (
        "Which of these is a musical instrument?",
        "a violin",
        ["a hammer", "a carpet", "a ladder"],
    ),
    (
        "Which of these is a fruit?",
        "a pear",
        ["a potato", "a loaf", "a nail"],
    ),
    (
        "Which of these is a color?",
        "purple",
        ["square", "loud", "heavy"],
    ),
    (
        "Which of these can fly?",
        "a sparrow",
        ["a snail", "a horse", "a trout"],
    ),
    (
        "Which of these is hot?",
        "a fire",
        ["an icicle", "a snowman", "a glacier"],
    ),
    (
        "In Python, what is the value of len([1, 2, 3])?",
        "3",
        ["6", "2", "123"],
    ),
    (
        "In Python, what is the value of 7 // 2?",
        "3",
        ["3.5", "4", "1"],
    ),
    (
        "In Python, what is the value of 7 % 3?",
        "1",
        ["2", "3", "0"],
    ),
    (
        "In Python, what is the value of \"ab\" * 2?",
        "\"abab\"",
        ["\"ab2\"", "\"aabb\"", "\"ab\""],
    ),
    (
        "In Python, what is the value of sum([4, 5, 6])?",
        "15",
        ["3", "456", "20"],
    ),
    (
        "In Python, which keyword defines a function?",
        "def",
        ["for", "class", "import"],
    ),
    (
        "In Python, which keyword begins a loop over a list?",
        "for",
        ["if", "def", "try"],
    ),
    (
        "In Python, what is the value of max(3, 9, 5)?",
        "9",
        ["3", "5", "17"],
    ),
];

/// Returns the items of the table in the form that the audit scores.
pub fn items() -> Vec<FactQuestion> {
    let items = ITEMS.iter().map(|(question, answer, others)| FactQuestion {
        question: (*question).to_owned(),
        answer: (*answer).to_owned(),
        others: others.iter().map(|other| (*other).to_owned()).collect(),
    });
    items.collect()
}
