//! Knowledge: single facts of chemistry and physics, stated and asked in many phrasings.
//!
//! A *relation*, such as “symbol”, has a fact for each subject. Training text lists every fact, states it and asks for
//! it in several phrasings. The test asks for the same facts in phrasings that occur nowhere in the training text. A
//! model that answers has learned the facts, not the sentences.

mod chemistry;
mod frames;
mod physics;
mod relation;

use super::random::Random;
use frames::ask;
use relation::{Fact, Relation, Template, fill};

/// Share of the pages that are tables, in percent. A table gives many facts in little text.
const TABLES_PERCENT: i64 = 45;

/// Share of the pages that state facts, in percent; the others ask for them.
const STATEMENTS_PERCENT: i64 = 18;

/// Question of the test, with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Name of the fact that is asked for: relation and subject.
    pub fact: String,
    /// Text of the question; the answer follows after a space.
    pub prompt: String,
    /// Exact answer.
    pub answer: &'static str,
}

/// Facts of one domain of the corpus, by relation.
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

    /// Writes a page: a table of one relation, statements, or questions with answers.
    pub fn page(&self, random: &mut Random) -> String {
        let style = random.below(100);
        if style < TABLES_PERCENT {
            return self.draw(random).0.table(random);
        }
        let states = style < TABLES_PERCENT + STATEMENTS_PERCENT;
        let lines = (0..random.between(8, 14)).map(|_| {
            let (relation, fact) = self.draw(random);
            if states {
                relation.state(fact, random)
            } else {
                let phrase = fill(random.choose::<Template>(relation.phrases), fact);
                let prompt = ask(&frames::taught(random, &phrase), &phrase);
                format!("{prompt} {}\n", fact.answer)
            }
        });
        lines.collect()
    }

    /// Returns a question for every fact, in phrasings that only the test uses.
    pub fn questions(&self, random: &mut Random) -> Vec<Question> {
        let mut questions = Vec::new();
        for relation in &self.relations {
            for fact in &relation.facts {
                let phrase = fill(relation.phrases[0], fact);
                questions.push(Question {
                    fact: format!("{} of {}", relation.name, fact.subject),
                    prompt: ask(random.choose::<Template>(&frames::TEST), &phrase),
                    answer: fact.answer,
                });
            }
        }
        questions
    }

    /// Draws a fact and its relation; every fact is equally likely.
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::synthetic::lexicon::capitalized;

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
            let mut answers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            let lines: Vec<&str> = text.lines().collect();
            for pair in lines.windows(2) {
                if let Some(answer) = pair[1].strip_prefix("Answer: ") {
                    answers
                        .entry(answer)
                        .or_default()
                        .push(pair[0].to_lowercase());
                }
            }
            let questions = knowledge.questions(&mut random);
            let asked: BTreeSet<&str> = questions.iter().map(|asked| asked.fact.as_str()).collect();
            assert_eq!(asked.len(), questions.len());
            for relation in &knowledge.relations {
                for fact in &relation.facts {
                    let stated = relation
                        .statements
                        .iter()
                        .any(|statement| text.contains(&capitalized(&fill(statement, fact))));
                    let answered = answers[fact.answer].iter().any(|question| {
                        relation
                            .phrases
                            .iter()
                            .any(|phrase| question.contains(&fill(phrase, fact).to_lowercase()))
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
                    for frame in frames::TEST {
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
