//! Stories from a grammar: who, where, what was lost or wanted, what stood in the way, how it ended.

use super::random::Random;

const NAMES: [&str; 24] = [
    "Mara", "Tobias", "Ilse", "Kofi", "Anneke", "Rashid", "Penelope", "Oskar", "Yuki", "Leonie",
    "Dmitri", "Saoirse", "Amadou", "Greta", "Hassan", "Lucia", "Matthias", "Noor", "Ottoline",
    "Pavel", "Rosalind", "Samir", "Thea", "Wendell",
];
const TRADES: [&str; 18] = [
    "clockmaker",
    "ferryman",
    "baker",
    "lighthouse keeper",
    "schoolteacher",
    "bookbinder",
    "gardener",
    "tailor",
    "carpenter",
    "midwife",
    "fiddler",
    "map maker",
    "beekeeper",
    "glassblower",
    "shepherd",
    "postman",
    "potter",
    "miller",
];
const PLACES: [&str; 18] = [
    "a village under the mill hill",
    "a harbour town where the fog came early",
    "a house at the end of the long lane",
    "the old quarter behind the cathedral",
    "an island with one road",
    "a valley that kept its snow until May",
    "a town of seven bridges",
    "the last farm before the moor",
    "a street of shuttered shops",
    "a monastery garden",
    "a fishing hamlet below the cliffs",
    "a railway junction in the plain",
    "the city's northern edge",
    "a castle nobody repaired",
    "a river landing among willows",
    "a market square paved with slate",
    "the foot of the blue mountains",
    "a wood full of foxes",
];
const OBJECTS: [&str; 20] = [
    "a silver key",
    "a letter sealed with green wax",
    "a violin without strings",
    "a map drawn on linen",
    "a small brass bell",
    "a lantern of red glass",
    "a book whose pages were blank",
    "a ring too large for any finger",
    "a chest with three locks",
    "a coat sewn from sails",
    "a mirror wrapped in wool",
    "a jar of honey",
    "a clock that ran backwards",
    "a wooden horse",
    "a portrait of a stranger",
    "a pair of walking shoes",
    "a loaf of bread baked with rosemary",
    "a compass with no needle",
    "a kite of rice paper",
    "a spool of golden thread",
];
const WEATHER: [&str; 14] = [
    "Rain had fallen for three days",
    "The first frost lay on the roofs",
    "A warm wind came up from the south",
    "The moon stood over the chimneys",
    "Fog filled the streets like milk",
    "It was the hottest week of the summer",
    "Snow muffled every step",
    "The evening smelled of smoke and apples",
    "Thunder walked along the hills",
    "Swallows were gathering on the wires",
    "The tide was out",
    "The leaves had begun to turn",
    "Stars came out one by one",
    "The morning was pale and still",
];
const FEELINGS: [&str; 14] = [
    "could not sleep",
    "felt the old sorrow return",
    "laughed for the first time in weeks",
    "was afraid and would not say so",
    "remembered a promise",
    "grew impatient",
    "thought of home",
    "was ashamed of the lie",
    "felt strangely calm",
    "longed for company",
    "doubted everything",
    "kept silent out of pride",
    "was too tired to be angry",
    "hoped against reason",
];
const ACTS: [&str; 18] = [
    "crossed the river by the stepping stones",
    "climbed the tower to look for a light",
    "knocked at the door of the old house",
    "hid behind the bread oven until the voices passed",
    "sold the last of the candles",
    "followed the tracks into the wood",
    "wrote a letter and burned it",
    "asked the children what they had seen",
    "waited at the landing until the lamps were lit",
    "mended the broken gate",
    "counted the coins twice",
    "opened the shutters",
    "rowed out past the breakwater",
    "turned every drawer onto the floor",
    "walked all night along the railway",
    "bargained with the innkeeper",
    "dug beneath the pear tree",
    "rang the bell until the neighbours came",
];
const TROUBLES: [&str; 14] = [
    "the bridge had been washed away",
    "the constable would not listen",
    "the dog had been let loose",
    "nobody remembered the name",
    "the road was closed by snow",
    "the money was gone",
    "a stranger had come before them",
    "the lock had been changed",
    "the boat leaked",
    "the letter had been read by somebody else",
    "the fire had spread to the barn",
    "the wrong house had been searched",
    "the map was upside down",
    "the train had already left",
];
const SAYINGS: [&str; 18] = [
    "What is lost wants to be found",
    "I never meant to keep it",
    "You may ask, but I shall not answer",
    "There is still time before dark",
    "Nobody goes there any more",
    "I have waited longer than you have lived",
    "It was never yours to sell",
    "Let us begin again",
    "Do not trust the quiet",
    "My mother told it otherwise",
    "We shall need a longer rope",
    "Leave the door open",
    "I would rather be poor than wrong",
    "You look like someone who has walked far",
    "Everything has its price",
    "The sea gives nothing back",
    "Then you must have seen her too",
    "I can hear it ticking",
];
const ENDINGS: [&str; 12] = [
    "In the morning it was gone, and nobody spoke of it again",
    "So it hangs there still, above the door, and visitors ask about it",
    "They shared the bread and said very little",
    "After that winter the two of them were seldom seen apart",
    "What it had cost was never written down",
    "The children tell the story differently, and perhaps they are right",
    "It was enough",
    "Years later a letter came, but that is another story",
    "The key fitted after all",
    "And the bell was rung that night for the last time",
    "Whoever passes the house today sees a light in the window",
    "He kept his promise, as people sometimes do",
];
const REFLECTIONS: [&str; 12] = [
    "It is easier to lose a thing than to be without it",
    "People forgive a debt sooner than a kindness",
    "A door that is never opened is only a wall",
    "One can be lonely in a crowd and in good company on a moor",
    "Old houses know how to keep quiet",
    "Whoever counts every step does not get far",
    "Courage is mostly a matter of going on",
    "There are questions that are better carried than answered",
    "The truth had been on the table all along",
    "Small towns have long memories",
    "Patience looks like idleness from outside",
    "Some journeys begin with turning back",
];

/// The people and things of one story.
struct Cast {
    hero: &'static str,
    friend: &'static str,
    trade: &'static str,
    pronoun: [&'static str; 3],
    object: &'static str,
    first_person: bool,
}

/// One story of several scenes.
pub fn story(random: &mut Random) -> String {
    let hero = *random.choose(&NAMES);
    let friend = loop {
        let friend = *random.choose(&NAMES);
        if friend != hero {
            break friend;
        }
    };
    let (trade, object) = (*random.choose(&TRADES), *random.choose(&OBJECTS));
    let cast = Cast {
        hero,
        friend,
        trade,
        pronoun: *random.choose(&[["she", "her", "She"], ["he", "his", "He"]]),
        object,
        first_person: random.below(4) == 0,
    };
    let mut text = opening(&cast, random);
    for _ in 0..random.between(2, 5) {
        text.push_str("\n\n");
        text.push_str(&scene(&cast, random));
    }
    format!("{text}\n\n{}\n", ending(&cast, random))
}

/// The object when it is known already: `a key` → `the key`.
fn known(object: &str) -> String {
    let rest = object.split_once(' ').map_or(object, |(_, rest)| rest);
    let rest = rest.split(" with").next().unwrap_or(rest);
    format!("the {rest}")
}

fn opening(cast: &Cast, random: &mut Random) -> String {
    let (place, weather) = (random.choose(&PLACES), random.choose(&WEATHER));
    let Cast {
        hero,
        friend,
        trade,
        pronoun,
        object,
        ..
    } = cast;
    if cast.first_person {
        return format!(
            "{weather} when I came to {place}. I was then a {trade}'s apprentice, and I carried {object} that belonged to {hero}."
        );
    }
    match random.below(4) {
        0 => format!(
            "In {place} there lived a {trade} called {hero}. {weather}, and {} found {object} on the doorstep.",
            pronoun[0]
        ),
        1 => format!(
            "{weather} on the day that {hero}, the {trade}, left {place}. {} took nothing along but {object}.",
            pronoun[2]
        ),
        2 => format!(
            "Everybody in {place} knew the {trade}, but only {friend} knew about {object}. {hero} was the {trade}'s name."
        ),
        _ => format!(
            "\"Tell me about {object},\" said {friend}. {weather}, and {hero}, who had been a {trade} in {place}, took a long time to answer."
        ),
    }
}

fn scene(cast: &Cast, random: &mut Random) -> String {
    let mut sentences = Vec::new();
    for _ in 0..random.between(2, 4) {
        sentences.push(sentence(cast, random));
    }
    sentences.join(" ")
}

fn sentence(cast: &Cast, random: &mut Random) -> String {
    let Cast {
        hero,
        friend,
        pronoun,
        ..
    } = cast;
    let (act, other) = (random.choose(&ACTS), random.choose(&ACTS));
    let who = if cast.first_person {
        "I"
    } else if random.below(2) == 0 {
        hero
    } else {
        pronoun[2]
    };
    let (saying, trouble) = (random.choose(&SAYINGS), random.choose(&TROUBLES));
    match random.below(9) {
        0 => format!("{who} {act}, but {trouble}."),
        1 => format!("\"{saying},\" said {friend}."),
        2 => format!(
            "\"{saying}.\" {friend} {}, and then {other}.",
            random.choose(&FEELINGS)
        ),
        3 => format!("{}, so {friend} {act}.", random.choose(&WEATHER)),
        4 => format!("{who} {} and {act}.", random.choose(&FEELINGS)),
        5 => format!("{}.", random.choose(&REFLECTIONS)),
        6 => format!(
            "When {friend} heard that {trouble}, {} {act}.",
            if cast.first_person { "I" } else { pronoun[0] }
        ),
        7 => format!(
            "At last {friend} {act}, and {} was still there.",
            known(cast.object)
        ),
        _ => format!(
            "\"Have you seen {}?\" asked {hero}. \"{saying},\" {friend} answered.",
            known(cast.object)
        ),
    }
}

fn ending(cast: &Cast, random: &mut Random) -> String {
    let object = known(cast.object);
    match random.below(3) {
        0 => format!(
            "So {} gave {object} to {}. {}.",
            cast.friend,
            cast.hero,
            random.choose(&ENDINGS)
        ),
        1 => format!(
            "Nobody asked for {object} any more. {}. {}.",
            random.choose(&REFLECTIONS),
            random.choose(&ENDINGS)
        ),
        _ => format!(
            "{}. {} {}, and {object} stayed where it was.",
            random.choose(&ENDINGS),
            cast.hero,
            random.choose(&ACTS)
        ),
    }
}
