//! Stories from a grammar: a cast of characters and an object, scenes in which they reappear, and an ending.
//!
//! Sentences are built from single words, so there are far more possible ones than a corpus holds. A model can learn
//! the language and the roles in a story, but not the text by heart.

use super::lexicon::{self, Words, capitalized};
use super::random::Random;

/// A character, with name and pronouns.
struct Person {
    name: String,
    pronoun: &'static str,
    possessive: &'static str,
}

/// Characters and object of one generated story.
struct Cast {
    hero: Person,
    friend: Person,
    trade: String,
    thing: String,
}

/// Generator of the sentences of one story.
struct Teller<'a> {
    random: &'a mut Random,
    cast: &'a Cast,
}

/// Writes a story of several scenes.
pub fn story(random: &mut Random) -> String {
    let hero = person(random);
    let friend = loop {
        let friend = person(random);
        if friend.name != hero.name {
            break friend;
        }
    };
    let cast = Cast {
        hero,
        friend,
        trade: word(random, lexicon::TRADES),
        thing: format!(
            "{} {}",
            word(random, lexicon::QUALITIES),
            word(random, lexicon::THINGS)
        ),
    };
    let mut teller = Teller {
        random,
        cast: &cast,
    };
    let mut text = teller.opening();
    for _ in 0..teller.random.between(2, 5) {
        text.push_str("\n\n");
        text.push_str(&teller.scene());
    }
    format!("{text}\n\n{}\n", teller.ending())
}

fn word(random: &mut Random, words: Words) -> String {
    // The lists are short, so counting their words each time is cheap and lets them stay plain strings.
    let count = words.split_whitespace().count();
    let chosen = words
        .split_whitespace()
        .nth(random.below(count as i64) as usize);
    chosen.unwrap_or_default().replace('_', " ")
}

fn person(random: &mut Random) -> Person {
    let (names, pronoun, possessive) = match random.below(2) {
        0 => (lexicon::SHE, "she", "her"),
        _ => (lexicon::HE, "he", "his"),
    };
    Person {
        name: word(random, names),
        pronoun,
        possessive,
    }
}

fn article(phrase: &str) -> &'static str {
    match phrase.chars().next() {
        Some('a' | 'e' | 'i' | 'o' | 'u') => "an",
        _ => "a",
    }
}

impl Teller<'_> {
    fn word(&mut self, words: Words) -> String {
        word(self.random, words)
    }

    fn one_in(&mut self, count: i64) -> bool {
        self.random.below(count) == 0
    }

    fn opening(&mut self) -> String {
        let (place, weather) = (self.place(), self.weather());
        let when = self.word(lexicon::WHEN);
        let Cast {
            hero,
            friend,
            trade,
            thing,
        } = self.cast;
        let (hero_name, article_of_thing) = (&hero.name, article(thing));
        match self.random.below(4) {
            0 => format!(
                "Near {place} there lived {} {trade} called {hero_name}, who owned {article_of_thing} {thing}. {weather}",
                article(trade)
            ),
            1 => format!(
                "{weather} {when}, {hero_name} the {trade} left {place} with nothing but {article_of_thing} {thing}."
            ),
            2 => format!(
                "Everybody at {place} knew {hero_name} the {trade}, but only {} knew about the {thing}. {weather}",
                friend.name
            ),
            _ => format!(
                "\"Tell me about the {thing},\" said {} to the {trade}. {hero_name}, for that was {} name, took a long \
                 time to answer. {weather}",
                friend.name, hero.possessive
            ),
        }
    }

    fn scene(&mut self) -> String {
        let count = self.random.between(2, 5);
        let sentences: Vec<String> = (0..count).map(|_| self.sentence()).collect();
        sentences.join(" ")
    }

    fn sentence(&mut self) -> String {
        match self.random.below(9) {
            0 => self.weather(),
            1 | 2 => self.speech(),
            3 => {
                let (feeling, clause) = (self.word(lexicon::FEELINGS), self.clause());
                format!("Full of {feeling}, {clause}.")
            }
            4 => {
                let (when, clause) = (self.word(lexicon::WHEN), self.clause());
                format!("{when} {clause}.")
            }
            5 | 6 => {
                let (clause, other) = (self.clause(), self.clause());
                let because = self.word(lexicon::BECAUSE);
                capitalized(&format!("{clause} {because} {other}."))
            }
            7 => {
                let (clause, doing) = (self.clause(), self.predicate());
                capitalized(&format!("{clause}, and then {doing}."))
            }
            _ => capitalized(&format!("{}.", self.clause())),
        }
    }

    fn speech(&mut self) -> String {
        let (cast, says) = (self.cast, self.word(lexicon::SAYS));
        let (speaker, other) = match self.random.below(2) {
            0 => (&cast.hero.name, &cast.friend.name),
            _ => (&cast.friend.name, &cast.hero.name),
        };
        let (words, mark) = match self.random.below(4) {
            0 => (format!("The {} is at {}", cast.thing, self.place()), ","),
            1 => (format!("Did you know that {}", self.clause()), "?"),
            2 => (format!("{other}, I {}", self.predicate()), ","),
            _ => (capitalized(&self.clause()), ","),
        };
        if self.one_in(2) {
            return format!("\"{words}{mark}\" {says} {speaker}.");
        }
        format!("{speaker} {says}: \"{words}{}\"", mark.replace(',', "."))
    }

    /// Writes a clause: a character does something.
    fn clause(&mut self) -> String {
        format!("{} {}", self.somebody(), self.predicate())
    }

    fn somebody(&mut self) -> String {
        let cast = self.cast;
        match self.random.below(8) {
            0 | 1 => cast.hero.name.clone(),
            2 => cast.hero.pronoun.to_owned(),
            3 => cast.friend.name.clone(),
            4 => format!("the {}", self.cast.trade),
            5 => format!("{} {}", cast.hero.possessive, self.word(lexicon::PEOPLE)),
            _ => self.stranger(),
        }
    }

    fn stranger(&mut self) -> String {
        let people = self.word(lexicon::PEOPLE);
        if self.one_in(2) {
            return format!("the {people}");
        }
        format!("the {people} from {}", self.place())
    }

    fn predicate(&mut self) -> String {
        let mut text = match self.random.below(6) {
            0 => self.word(lexicon::DOES),
            1 | 2 => {
                let (takes, thing) = (self.word(lexicon::TAKES), self.thing());
                format!("{takes} {thing}")
            }
            3 => {
                let (meets, stranger) = (self.word(lexicon::MEETS), self.stranger());
                format!("{meets} {stranger}")
            }
            4 => {
                let (moves, towards) = (self.word(lexicon::MOVES), self.word(lexicon::TOWARDS));
                format!("{moves} {towards} {}", self.place())
            }
            _ => {
                let (takes, thing) = (self.word(lexicon::TAKES), self.thing());
                format!("{takes} {thing} at {}", self.place())
            }
        };
        if self.one_in(4) {
            text = format!("{text} {}", self.word(lexicon::HOW));
        }
        text
    }

    fn thing(&mut self) -> String {
        match self.random.below(6) {
            0 | 1 => format!("the {}", self.cast.thing),
            2 => {
                let (quality, thing) = (self.word(lexicon::QUALITIES), self.word(lexicon::THINGS));
                format!("{} {quality} {thing}", self.cast.hero.possessive)
            }
            3 => {
                let (thing, person) = (self.word(lexicon::THINGS), self.word(lexicon::PEOPLE));
                format!("the {person}'s {thing}")
            }
            4 => {
                let thing = self.word(lexicon::THINGS);
                format!("{} {thing}", article(&thing))
            }
            _ => {
                let (quality, thing) = (self.word(lexicon::QUALITIES), self.word(lexicon::THINGS));
                format!("{} {quality} {thing}", article(&quality))
            }
        }
    }

    fn place(&mut self) -> String {
        let place = self.word(lexicon::PLACES);
        match self.random.below(3) {
            0 => format!("the {} {place}", self.word(lexicon::QUALITIES)),
            _ => format!("the {place}"),
        }
    }

    fn weather(&mut self) -> String {
        let (weather, does) = (
            self.word(lexicon::WEATHER),
            self.word(lexicon::WEATHER_DOES),
        );
        capitalized(&format!("{weather} {does} {}.", self.place()))
    }

    fn ending(&mut self) -> String {
        let (clause, feeling) = (self.clause(), self.word(lexicon::FEELINGS));
        let Cast {
            hero,
            friend,
            thing,
            ..
        } = self.cast;
        let (hero, friend) = (&hero.name, &friend.name);
        match self.random.below(4) {
            0 => format!("So {friend} gave the {thing} to {hero}, and {clause}."),
            1 => {
                format!("Nobody asked for the {thing} any more. {hero} spoke of it with {feeling}.")
            }
            2 => format!(
                "The {thing} stayed at {}, where {clause}. That was the end of {friend}'s {feeling}.",
                self.place()
            ),
            _ => format!(
                "Years later {friend} {}, and the {thing} was all that {hero} remembered.",
                self.predicate()
            ),
        }
    }
}
