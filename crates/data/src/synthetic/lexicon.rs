//! Words of the stories, by their role in a sentence.

/// Words to choose from, separated by spaces; `_` joins the words of a phrase.
pub type Words = &'static str;

pub const SHE: Words = "Mara Ilse Anneke Penelope Yuki Leonie Saoirse Greta Lucia Noor Ottoline Rosalind Thea Beatrix \
    Cordelia Edda Fatima Hedwig Imogen Josephine Katya Maud Nadia Philippa Ruth Sabine Tamsin Ursula Vera Zadie";

pub const HE: Words = "Tobias Kofi Rashid Oskar Dmitri Amadou Hassan Matthias Pavel Samir Wendell Anselm Barnaby Casimir \
    Edmund Fergus Gideon Henrik Isidor Jonah Konrad Lucian Magnus Nicodemus Otto Percival Reuben Silas Theodor Ulrich";

pub const TRADES: Words = "clockmaker ferryman baker lighthouse_keeper schoolteacher bookbinder gardener tailor carpenter \
    midwife fiddler map_maker beekeeper glassblower shepherd postman potter miller blacksmith weaver chimney_sweep \
    gravedigger apothecary locksmith printer dyer cooper fishmonger organist drover thatcher seamstress notary \
    puppeteer stonemason candle_maker";

pub const THINGS: Words = "key letter violin map bell lantern book ring chest coat mirror jar clock horse portrait basket \
    compass kite spool ladder saddle kettle candle rope knife purse hat blanket bottle hammer loaf parcel umbrella \
    spoon drum flute needle whistle barrel cage crown boot glove shawl cup coin feather stone lamp trunk ticket diary \
    wheel sail anchor net bucket chair table door window drawer painting photograph telescope thimble wreath sack tray \
    sword shovel bridle cradle comb brooch pipe plough quilt scarf teapot vase wagon axe easel globe hourglass inkwell \
    marble necklace oar pendulum rosary sledge tambourine thermometer typewriter";

pub const QUALITIES: Words = "silver green broken small brass red blank heavy rusty golden wooden torn forgotten crooked \
    polished empty stolen borrowed painted cracked ancient dusty plain black yellow narrow shining frozen wet warm \
    hollow faded carved gilded muddy striped round locked unfinished pale spotless burnt famous worthless stubborn \
    foreign delicate enormous scarlet clumsy bitter tangled nameless ragged quiet curious bent mended tarnished \
    velvet copper marble ivory cheap splendid dented sooty fragrant smooth blue grey lopsided precious secret \
    familiar patient waxed embroidered leaking silent weathered";

pub const PEOPLE: Words = "stranger widow child sailor neighbour soldier priest doctor thief bride grandmother uncle \
    merchant pilgrim judge beggar cousin nun captain landlady hunter poet prisoner messenger cook twin orphan duchess \
    tinker constable";

pub const PLACES: Words = "bridge harbour mill churchyard orchard market attic cellar tower garden station river moor \
    forest lighthouse inn courtyard chapel quarry meadow bakery library staircase alley island ferry barn kitchen \
    vineyard crossroads well canal theatre hospital monastery workshop beach palace schoolhouse graveyard valley \
    cliff swamp square granary stable ruin tunnel pond customs_house hill landing hedge windmill";

pub const TAKES: Words = "found carried hid sold mended lost wanted noticed buried opened painted dropped stole returned \
    polished broke examined forgot wrapped remembered bought borrowed guarded sketched cleaned pawned weighed lifted \
    followed studied recognised refused kissed burned washed locked_up traded dragged threw_away took_apart admired \
    kept missed photographed inherited described counted misplaced repaired unwrapped swallowed cursed";

pub const MEETS: Words = "met followed deceived thanked recognised feared avoided married warned invited taught forgave \
    envied visited trusted questioned greeted pitied obeyed overheard consoled betrayed defended ignored rescued \
    insulted nursed employed outwitted missed astonished paid embraced begged accompanied teased";

pub const MOVES: Words = "walked ran climbed limped hurried crept wandered rode rowed marched stumbled strolled fled \
    travelled slipped danced crawled trudged swam drifted galloped tiptoed raced sailed returned";

pub const TOWARDS: Words =
    "to towards past behind across_from through around beyond near into out_of away_from";

pub const DOES: Words = "slept laughed wept sang waited hesitated trembled whispered prayed shouted listened smiled \
    yawned sighed blushed shivered whistled argued fainted nodded coughed dreamed complained apologised vanished \
    frowned knelt sneezed lied grew_pale kept_silent gave_up sat_down looked_back held_on turned_away woke";

pub const HOW: Words = "slowly quietly gladly bravely in_vain at_once without_a_word with_great_care reluctantly secretly \
    twice for_hours politely angrily in_tears by_moonlight carelessly proudly alone on_purpose all_the_same \
    out_of_habit barefoot with_both_hands for_the_last_time half_asleep against_all_advice like_a_thief";

pub const WHEN: Words = "That_night The_next_morning Before_dawn After_supper On_Sunday In_the_spring Long_afterwards \
    At_midnight During_the_storm By_the_third_day One_winter_evening Soon_enough Towards_noon When_the_bells_rang \
    At_harvest_time On_the_last_day_of_May Within_the_hour As_the_tide_turned Years_later At_first_light \
    While_the_snow_fell All_that_summer In_the_middle_of_Lent On_market_day";

pub const WEATHER: Words =
    "rain snow fog frost wind hail thunder sunshine drizzle mist smoke moonlight sleet darkness";

pub const WEATHER_DOES: Words = "covered hid filled swept_over battered softened drowned crept_over lay_on blew_across \
    blotted_out brightened hung_over emptied";

pub const FEELINGS: Words = "joy sorrow envy shame hope fear pride hunger relief anger longing pity doubt weariness \
    curiosity grief tenderness guilt homesickness wonder";

pub const SAYS: Words = "said asked whispered answered insisted murmured cried repeated admitted boasted muttered \
    promised lied explained grumbled";

pub const BECAUSE: Words =
    "because although so_that until since while as_if even_though long_before after whenever";

/// Returns a text with its first letter in upper case.
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
