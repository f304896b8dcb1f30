//! Knowledge: single facts of chemistry and physics, stated and asked in many phrasings.
//!
//! A *relation*, such as “symbol”, has a fact for each subject. Training text states every fact and asks for it in
//! several phrasings. The test asks for the same facts in phrasings that occur nowhere in the training text. A model
//! that answers has learned the facts, not the sentences.

mod chemistry;
mod physics;
mod relation;

use super::random::Random;
use relation::{Fact, Relation, Template, capitalized, fill};

/// Questions of the training text; `{phrase}` is a noun phrase of the relation.
const TAUGHT_QUESTIONS: [Template; 14] = [
    "What is {phrase}?",
    "Name {phrase}.",
    "State {phrase}.",
    "Write down {phrase}.",
    "Do you know {phrase}?",
    "Recall {phrase}.",
    "{phrase}?",
    "Tell me {phrase}.",
    "Look up {phrase}.",
    "Do you remember what {phrase} is?",
    "I wonder what {phrase} is.",
    "I need {phrase} at once.",
    "Would you write {phrase} here?",
    "Let us find {phrase} together.",
];

/// Questions of the test. The words after the phrase keep a question and its answer from repeating training text.
const TEST_QUESTIONS: [Template; 4] = [
    "Can you say {phrase} to us?",
    "Does anyone know {phrase} by heart?",
    "Please give {phrase} to the class.",
    "Explain {phrase} to a beginner.",
];

/// Question of the test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Relation and subject.
    pub fact: String,
    /// Beginning that the answer continues after a space.
    pub prompt: String,
    /// Exact answer.
    pub answer: &'static str,
}

/// Facts of one subject of the corpus.
#[derive(Debug)]
pub struct Knowledge {
    pub relations: Vec<Relation>,
}

impl Knowledge {
    /// Returns the facts of a domain of the corpus, or `None` for a domain without facts.
    pub fn of(domain: &str) -> Option<Self> {
        let relations = match domain {
            "chemistry" => chemistry::relations(),
            "physics" => physics::relations(),
            _ => return None,
        };
        Some(Self { relations })
    }

    /// Writes a page that either states facts or asks for them and answers.
    pub fn page(&self, random: &mut Random) -> String {
        let states = random.below(3) == 0;
        let lines = (0..random.between(8, 14)).map(|_| {
            let (relation, fact) = self.draw(random);
            if states {
                relation.state(fact, random)
            } else {
                let phrase = fill(random.choose::<Template>(relation.phrases), fact);
                let prompt = ask(random.choose::<Template>(&TAUGHT_QUESTIONS), &phrase);
                format!("{prompt} {}\n", fact.answer)
            }
        });
        lines.collect()
    }

    /// Asks for every fact once, in phrasings of the test.
    pub fn questions(&self, random: &mut Random) -> Vec<Question> {
        let mut questions = Vec::new();
        for relation in &self.relations {
            for fact in &relation.facts {
                let phrase = fill(relation.phrases[0], fact);
                questions.push(Question {
                    fact: format!("{} of {}", relation.name, fact.subject),
                    prompt: ask(random.choose::<Template>(&TEST_QUESTIONS), &phrase),
                    answer: fact.answer,
                });
            }
        }
        questions
    }

    /// Draws a fact; every fact is equally likely.
    fn draw(&self, random: &mut Random) -> (&Relation, &Fact) {
        let count: usize = self
            .relations
            .iter()
            .map(|relation| relation.facts.len())
            .sum();
        let mut index = random.below(count as i64) as usize;
        for relation in &self.relations {
            if let Some(fact) = relation.facts.get(index) {
                return (relation, fact);
            }
            index -= relation.facts.len();
        }
        unreachable!("the index is below the number of facts")
    }
}

/// Returns a prompt that asks by a question frame.
fn ask(frame: &str, phrase: &str) -> String {
    format!(
        "Question: {}\nAnswer:",
        capitalized(&frame.replace("{phrase}", phrase))
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    const DOMAINS: [&str; 2] = ["chemistry", "physics"];

    fn knowledge(domain: &str) -> Knowledge {
        Knowledge::of(domain).unwrap()
    }

    /// Checks that the corpus has at least 300 facts, and that a relation has one answer for each subject.
    #[test]
    fn there_are_hundreds_of_unambiguous_facts() {
        let mut count = 0;
        for relation in DOMAINS
            .iter()
            .flat_map(|domain| knowledge(domain).relations)
        {
            let answers: BTreeMap<_, _> = relation
                .facts
                .iter()
                .map(|fact| (fact.subject, fact.answer))
                .collect();
            assert_eq!(answers.len(), relation.facts.len(), "{}", relation.name);
            count += relation.facts.len();
        }
        assert!(count >= 300, "{count}");
    }

    /// Checks that pages state and ask for every fact, and that each fact is asked once in the test.
    #[test]
    fn every_fact_is_taught_and_asked() {
        for domain in DOMAINS {
            let knowledge = knowledge(domain);
            let mut random = Random::new(1, domain);
            let pages: Vec<String> = (0..3000).map(|_| knowledge.page(&mut random)).collect();
            let text = pages.concat();
            let questions = knowledge.questions(&mut random);
            let asked: BTreeSet<&str> = questions.iter().map(|asked| asked.fact.as_str()).collect();
            assert_eq!(asked.len(), questions.len());
            for relation in &knowledge.relations {
                for fact in &relation.facts {
                    let stated = relation
                        .statements
                        .iter()
                        .any(|statement| text.contains(&capitalized(&fill(statement, fact))));
                    let answered = relation.phrases.iter().any(|phrase| {
                        let prompt = ask(TAUGHT_QUESTIONS[0], &fill(phrase, fact));
                        text.contains(&format!("{prompt} {}\n", fact.answer))
                    });
                    assert!(stated && answered, "{fact:?}");
                    assert!(
                        asked.contains(format!("{} of {}", relation.name, fact.subject).as_str())
                    );
                }
            }
        }
    }

    /// Checks that pages repeat no run of eight words of a question and its answer: the longest phrase that both share
    /// has seven words.
    #[test]
    fn questions_share_no_run_of_eight_words_with_pages() {
        let runs = |text: &str| -> BTreeSet<String> {
            let words: Vec<&str> = text.split_whitespace().collect();
            words.windows(8).map(|run| run.join(" ")).collect()
        };
        for domain in DOMAINS {
            let knowledge = knowledge(domain);
            let mut random = Random::new(2, domain);
            let taught: BTreeSet<String> = (0..20_000)
                .flat_map(|_| runs(&knowledge.page(&mut random)))
                .collect();
            for relation in &knowledge.relations {
                for fact in &relation.facts {
                    let phrase = fill(relation.phrases[0], fact);
                    assert!(phrase.split(' ').count() <= 7, "{phrase}");
                    for frame in TEST_QUESTIONS {
                        let asked = format!("{} {}", ask(frame, &phrase), fact.answer);
                        for run in runs(&asked) {
                            assert!(!taught.contains(&run), "{run}");
                        }
                    }
                }
            }
        }
    }

    /// Compares a few facts with values from the periodic table and textbooks.
    #[test]
    fn well_known_facts_are_right() {
        let answer = |domain: &str, name: &str, subject: &str| {
            let relations = knowledge(domain).relations;
            let relation = relations.into_iter().find(|relation| relation.name == name);
            let facts = relation.unwrap().facts;
            facts
                .iter()
                .find(|fact| fact.subject == subject)
                .unwrap()
                .answer
        };
        assert_eq!(answer("chemistry", "symbol", "sodium"), "Na");
        assert_eq!(answer("chemistry", "family", "iodine"), "halogens");
        assert_eq!(answer("chemistry", "formula", "ammonia"), "NH3");
        assert_eq!(answer("physics", "unit", "pressure"), "pascal");
        assert_eq!(answer("physics", "sign", "ohm"), "Ω");
        assert_eq!(answer("physics", "discoverer", "the neutron"), "Chadwick");
        assert_eq!(answer("physics", "year", "the laser"), "1960");
    }
}
