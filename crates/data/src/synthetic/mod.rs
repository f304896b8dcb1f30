//! The built-in synthetic corpus.
//!
//! It has four subjects and a niche, competition mathematics. Literature consists of stories, mathematics and the niche
//! of *problems*, chemistry and physics of problems (skills) and of *knowledge*, facts that are stated and asked in
//! many phrasings. A problem has a fact (its kind and its numbers), a question, worked steps and one exact answer.
//!
//! `questions.jsonl` of chemistry and physics asks for every known fact, in phrasings that occur in no document.
//! A tenth of all problems, chosen by a hash of the fact, is held out and is in no document in any phrasing:
//! `questions.jsonl` of mathematics and the niche, and `skills.jsonl` of chemistry and physics, ask for these.
//! The same seed gives the same bytes on every platform.

mod chemistry;
mod competition;
pub(crate) mod elements;
#[cfg(test)]
mod equations;
pub(crate) mod knowledge;
pub(crate) mod lexicon;
mod literature;
mod mathematics;
mod physics;
pub(crate) mod problem;
pub(crate) mod random;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::{DataError, DomainConfig, PrepareConfig, TokenizerConfig};
use knowledge::Knowledge;
use problem::{Draw, Problem, Style};
use random::Random;

/// Names of the corpus's domains: four subjects, and the niche last.
pub const DOMAINS: [&str; 5] = ["chemistry", "literature", "mathematics", "physics", NICHE];

/// Name of the domain to specialize in.
pub const NICHE: &str = "competition";

/// Number of held-out problems in each domain that has problems.
const PROBLEMS: usize = 300;

/// Number that changes the seed for questions, so that they are drawn differently than the documents.
const QUESTIONS_SEED: u64 = 0x5eed;

/// Share of the pages that state or ask for facts, in a domain that has facts; in percent.
const KNOWLEDGE_PERCENT: i64 = 70;

/// Size and seed of the corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyntheticConfig {
    /// Seed of the corpus.
    pub seed: u64,
    /// Approximate bytes of text per domain.
    pub bytes_per_domain: u64,
}

/// Writes `<folder>/<domain>/documents.jsonl` for every domain, `questions.jsonl` for every domain but literature, and
/// `skills.jsonl`, a task of problems, for domains whose questions ask for knowledge.
///
/// # Errors
/// Fails if the folder can't be written.
pub fn write(config: &SyntheticConfig, folder: &Path) -> Result<(), DataError> {
    for domain in DOMAINS {
        let place = folder.join(domain);
        std::fs::create_dir_all(&place).map_err(DataError::file("make the folder", &place))?;
        write_lines(
            &place.join("documents.jsonl"),
            documents(config, domain).map(|text| json!({ "text": text })),
        )?;
        let problems = held_out_problems(config, domain);
        if let Some(knowledge) = Knowledge::of(domain) {
            let asked = knowledge.questions(&mut Random::new(config.seed ^ QUESTIONS_SEED, domain));
            let lines = asked.iter().map(
                |asked| json!({ "prompt": asked.prompt, "answer": format!(" {}", asked.answer) }),
            );
            write_lines(&place.join("questions.jsonl"), lines)?;
            let lines = problems.iter().map(|problem| json!({ "context": problem.prompt(), "choices": [problem.answer], "answer": 0 }));
            write_lines(&place.join("skills.jsonl"), lines)?;
        } else if !problems.is_empty() {
            let lines = problems.iter().map(|problem| json!({ "prompt": problem.prompt(), "answer": format!(" {}", problem.answer), "group": problem.kind() }));
            write_lines(&place.join("questions.jsonl"), lines)?;
        }
    }
    Ok(())
}

/// Returns the configuration that prepares the corpus in `folder` as the dataset `output`: all domains with their
/// questions, and a small vocabulary.
pub fn prepare_config(folder: &Path, output: &Path) -> PrepareConfig {
    let domain = |name: &str| {
        let place = folder.join(name);
        DomainConfig {
            paths: vec![place.join("documents.jsonl").display().to_string()],
            questions: has_questions(name).then(|| place.join("questions.jsonl")),
            ..DomainConfig::default()
        }
    };
    PrepareConfig {
        output: output.to_path_buf(),
        heldout_fraction: 0.08,
        seed: 1,
        tokenizer: TokenizerConfig {
            vocab_size: Some(2048),
            sample_bytes: Some(4_000_000),
            ..TokenizerConfig::default()
        },
        domains: DOMAINS
            .iter()
            .map(|name| ((*name).to_owned(), domain(name)))
            .collect(),
    }
}

/// Returns true for a domain with questions, which is every domain that has problems.
fn has_questions(domain: &str) -> bool {
    draws(domain).is_some()
}

/// Returns true for a domain that teaches single facts, which its questions ask for.
pub fn has_knowledge(domain: &str) -> bool {
    Knowledge::of(domain).is_some()
}

fn write_lines(
    path: &Path,
    lines: impl Iterator<Item = serde_json::Value>,
) -> Result<(), DataError> {
    let write = || -> std::io::Result<()> {
        let mut staged = polymath_base::StagedFile::create(path)?;
        let mut file = std::io::BufWriter::new(staged.file());
        for line in lines {
            writeln!(file, "{line}")?;
        }
        file.flush()?;
        drop(file);
        staged.commit()
    };
    write().map_err(DataError::file("write", path))
}

fn draws(domain: &str) -> Option<&'static [Draw]> {
    match domain {
        "chemistry" => Some(&chemistry::DRAWS),
        "mathematics" => Some(&mathematics::DRAWS),
        "physics" => Some(&physics::DRAWS),
        NICHE => Some(&competition::DRAWS),
        _ => None,
    }
}

/// Generates documents of a domain until there is enough text.
fn documents(config: &SyntheticConfig, domain: &'static str) -> impl Iterator<Item = String> {
    let mut random = Random::new(config.seed, domain);
    let knowledge = Knowledge::of(domain);
    let mut left = config.bytes_per_domain as i64;
    std::iter::from_fn(move || {
        if left <= 0 {
            return None;
        }
        let text = match (draws(domain), &knowledge) {
            (_, Some(knowledge)) if random.below(100) < KNOWLEDGE_PERCENT => {
                knowledge.page(&mut random)
            }
            (Some(draws), _) => document(&mut random, domain, draws),
            (None, _) => literature::story(&mut random),
        };
        left -= text.len() as i64;
        Some(text)
    })
}

/// Writes a document that is a page of a few problems, all in one style.
fn document(random: &mut Random, domain: &str, draws: &[Draw]) -> String {
    let style = if domain == NICHE {
        Style::Competition
    } else {
        *random.choose(&Style::SCHOOL)
    };
    // A page has one or two kinds of problems, as in a textbook.
    let kinds = [*random.choose(draws), *random.choose(draws)];
    let count = 3 + random.below(5);
    let mut parts = Vec::new();
    if domain == "chemistry" && random.below(3) == 0 {
        parts.push(elements::about(random));
    }
    while parts.len() < count as usize {
        let problem = random.choose(&kinds)(random);
        if !problem.is_held_out() {
            parts.push(problem.render(style, parts.len() + 1));
        }
    }
    parts.join("\n")
}

/// Generates held-out problems of all kinds in turn, each fact once.
fn held_out_problems(config: &SyntheticConfig, domain: &'static str) -> Vec<Problem> {
    let Some(draws) = draws(domain) else {
        return Vec::new();
    };
    let mut random = Random::new(config.seed ^ QUESTIONS_SEED, domain);
    let mut asked = BTreeSet::new();
    let mut problems = Vec::new();
    // A kind with few facts runs out of them; the other kinds continue.
    for attempt in 0..PROBLEMS * 200 {
        let problem = draws[attempt % draws.len()](&mut random);
        if problem.is_held_out() && asked.insert(problem.fact.clone()) {
            problems.push(problem);
            if problems.len() == PROBLEMS {
                break;
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: SyntheticConfig = SyntheticConfig {
        seed: 3,
        bytes_per_domain: 150_000,
    };

    /// Checks that equal seeds give equal documents, and that another seed gives others.
    #[test]
    fn generation_is_a_function_of_the_seed() {
        let text = |seed| -> Vec<String> {
            let config = SyntheticConfig {
                seed,
                bytes_per_domain: 5_000,
            };
            DOMAINS
                .iter()
                .flat_map(|domain| documents(&config, domain))
                .collect()
        };
        assert_eq!(text(1), text(1));
        assert_ne!(text(1), text(2));
    }

    /// Checks that the corpus is the one on which the figures of the documentation were measured, by a hash of the
    /// text and of the questions of each domain. Where it changes on purpose, those figures are to be measured again.
    #[test]
    fn the_corpus_is_that_of_the_figures() {
        let config = SyntheticConfig {
            seed: 1,
            bytes_per_domain: 100_000,
        };
        let found = DOMAINS.map(|domain| {
            let texts: Vec<String> = documents(&config, domain).collect();
            let problems = held_out_problems(&config, domain).into_iter();
            let asked: Vec<String> = problems
                .map(|problem| format!("{} {}", problem.prompt(), problem.answer))
                .collect();
            (
                domain,
                random::hash(&texts.join("\0")),
                random::hash(&asked.join("\0")),
            )
        });
        let expected = [
            ("chemistry", 0x5511_0991_cfbc_8aa2, 0x2617_af85_69a0_f065),
            ("literature", 0x36ad_fc4b_f714_f962, 0x0767_0cd2_b438_9015),
            ("mathematics", 0xd5d0_6585_a428_a6d8, 0x7a24_473f_f003_420c),
            ("physics", 0x88ed_7698_0fdd_d429, 0x51f3_f86e_3d66_a287),
            ("competition", 0x0584_b56b_aa01_260d, 0xb40d_a57f_9abb_b902),
        ];
        assert_eq!(found, expected);
    }

    /// Checks that no held-out fact is in a training document, neither as a question nor as a statement.
    #[test]
    fn held_out_facts_are_never_taught() {
        for domain in DOMAINS {
            let taught: String = documents(&SMALL, domain).collect();
            let asked = held_out_problems(&SMALL, domain);
            assert_eq!(asked.is_empty(), domain == "literature");
            for problem in asked {
                assert!(
                    !taught.contains(&problem.question),
                    "{domain}: {}",
                    problem.question
                );
                assert!(
                    !taught.contains(&problem.statement),
                    "{domain}: {}",
                    problem.statement
                );
            }
        }
    }

    /// Checks that there are enough questions, and that about a tenth of the facts is held out.
    #[test]
    fn a_tenth_of_the_facts_is_held_out() {
        for domain in ["chemistry", "mathematics", "physics", NICHE] {
            assert!(
                held_out_problems(&SMALL, domain).len() >= 100,
                "{domain}: {}",
                held_out_problems(&SMALL, domain).len()
            );
            let mut random = Random::new(5, domain);
            let facts: BTreeSet<(String, bool)> = (0..4000)
                .map(|at| {
                    let draws = draws(domain).unwrap();
                    let problem = draws[at % draws.len()](&mut random);
                    (problem.fact.clone(), problem.is_held_out())
                })
                .collect();
            let share = facts.iter().filter(|(_, held)| *held).count() as f64 / facts.len() as f64;
            assert!((0.05..0.15).contains(&share), "{domain}: {share}");
        }
    }

    /// Checks that stories are long enough to be documents, and hardly ever equal.
    #[test]
    fn stories_differ() {
        let stories: Vec<String> = documents(&SMALL, "literature").collect();
        let distinct: BTreeSet<&String> = stories.iter().collect();
        assert_eq!(distinct.len(), stories.len());
        assert!(stories.iter().all(|story| story.len() > 300), "{stories:?}");
    }

    /// Checks that a story shares few of its eight-word sequences with the stories before it.
    #[test]
    fn stories_cannot_be_memorized() {
        let school = SyntheticConfig {
            bytes_per_domain: 1_000_000,
            ..SMALL
        };
        let (mut seen, mut repeated, mut all) = (BTreeSet::new(), 0, 0);
        for (number, story) in documents(&school, "literature").enumerate() {
            let words: Vec<&str> = story.split_whitespace().collect();
            for words in words.windows(8) {
                let new = seen.insert(random::hash(&words.join(" ")));
                if number > 500 {
                    all += 1;
                    repeated += usize::from(!new);
                }
            }
        }
        assert!(repeated * 20 < all, "{repeated} of {all}");
    }
}
