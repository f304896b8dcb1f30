//! Chemical elements: IUPAC symbols and names, atomic numbers, standard atomic weights.

use super::problem::decimal;
use super::random::Random;

/// A chemical element.
#[derive(Debug)]
pub struct Element {
    /// IUPAC symbol.
    pub symbol: &'static str,
    /// IUPAC name in English.
    pub name: &'static str,
    /// Atomic number.
    pub number: i64,
    /// Atomic weight in hundredths: IUPAC's abridged standard atomic weight, rounded to two decimals. For an element
    /// without one, it is the mass number of a long-lived isotope.
    pub weight: i64,
}

/// Returns the element with this symbol.
///
/// # Panics
/// Panics if there is no such element; all symbols are constants in this program.
pub fn by_symbol(symbol: &str) -> &'static Element {
    ELEMENTS
        .iter()
        .find(|element| element.symbol == symbol)
        .expect("a known symbol")
}

/// Returns a random element.
pub fn any(random: &mut Random) -> &'static Element {
    random.choose(&ELEMENTS)
}

/// Writes a few sentences about a random element.
pub fn about(random: &mut Random) -> String {
    let element = any(random);
    let Element {
        symbol,
        name,
        number,
        weight,
    } = element;
    let weight = decimal(*weight);
    let before = ELEMENTS
        .get((number - 2).max(0) as usize)
        .unwrap_or(element)
        .name;
    match random.below(3) {
        0 => format!(
            "The element {name} has the symbol {symbol} and the atomic number {number}: its atoms hold {number} protons and, when neutral, {number} electrons. Its atomic weight is {weight}.\n"
        ),
        1 => format!(
            "{symbol} stands for {name}, element number {number}. One mole of its atoms weighs {weight} g.\n"
        ),
        _ if *number > 1 => format!(
            "In the periodic table {name} ({symbol}, {number}) comes after {before}. The atomic weight of {name} is {weight}.\n"
        ),
        _ => format!(
            "The periodic table begins with {name} ({symbol}), whose atomic weight is {weight}.\n"
        ),
    }
}

#[rustfmt::skip]
pub static ELEMENTS: [Element; 118] = [
    Element { symbol: "H", name: "hydrogen", number: 1, weight: 101 },
    Element { symbol: "He", name: "helium", number: 2, weight: 400 },
    Element { symbol: "Li", name: "lithium", number: 3, weight: 694 },
    Element { symbol: "Be", name: "beryllium", number: 4, weight: 901 },
    Element { symbol: "B", name: "boron", number: 5, weight: 1081 },
    Element { symbol: "C", name: "carbon", number: 6, weight: 1201 },
    Element { symbol: "N", name: "nitrogen", number: 7, weight: 1401 },
    Element { symbol: "O", name: "oxygen", number: 8, weight: 1600 },
    Element { symbol: "F", name: "fluorine", number: 9, weight: 1900 },
    Element { symbol: "Ne", name: "neon", number: 10, weight: 2018 },
    Element { symbol: "Na", name: "sodium", number: 11, weight: 2299 },
    Element { symbol: "Mg", name: "magnesium", number: 12, weight: 2430 },
    Element { symbol: "Al", name: "aluminium", number: 13, weight: 2698 },
    Element { symbol: "Si", name: "silicon", number: 14, weight: 2808 },
    Element { symbol: "P", name: "phosphorus", number: 15, weight: 3097 },
    Element { symbol: "S", name: "sulfur", number: 16, weight: 3206 },
    Element { symbol: "Cl", name: "chlorine", number: 17, weight: 3545 },
    Element { symbol: "Ar", name: "argon", number: 18, weight: 3995 },
    Element { symbol: "K", name: "potassium", number: 19, weight: 3910 },
    Element { symbol: "Ca", name: "calcium", number: 20, weight: 4008 },
    Element { symbol: "Sc", name: "scandium", number: 21, weight: 4496 },
    Element { symbol: "Ti", name: "titanium", number: 22, weight: 4787 },
    Element { symbol: "V", name: "vanadium", number: 23, weight: 5094 },
    Element { symbol: "Cr", name: "chromium", number: 24, weight: 5200 },
    Element { symbol: "Mn", name: "manganese", number: 25, weight: 5494 },
    Element { symbol: "Fe", name: "iron", number: 26, weight: 5584 },
    Element { symbol: "Co", name: "cobalt", number: 27, weight: 5893 },
    Element { symbol: "Ni", name: "nickel", number: 28, weight: 5869 },
    Element { symbol: "Cu", name: "copper", number: 29, weight: 6355 },
    Element { symbol: "Zn", name: "zinc", number: 30, weight: 6538 },
    Element { symbol: "Ga", name: "gallium", number: 31, weight: 6972 },
    Element { symbol: "Ge", name: "germanium", number: 32, weight: 7263 },
    Element { symbol: "As", name: "arsenic", number: 33, weight: 7492 },
    Element { symbol: "Se", name: "selenium", number: 34, weight: 7897 },
    Element { symbol: "Br", name: "bromine", number: 35, weight: 7990 },
    Element { symbol: "Kr", name: "krypton", number: 36, weight: 8380 },
    Element { symbol: "Rb", name: "rubidium", number: 37, weight: 8547 },
    Element { symbol: "Sr", name: "strontium", number: 38, weight: 8762 },
    Element { symbol: "Y", name: "yttrium", number: 39, weight: 8891 },
    Element { symbol: "Zr", name: "zirconium", number: 40, weight: 9122 },
    Element { symbol: "Nb", name: "niobium", number: 41, weight: 9291 },
    Element { symbol: "Mo", name: "molybdenum", number: 42, weight: 9595 },
    Element { symbol: "Tc", name: "technetium", number: 43, weight: 9700 },
    Element { symbol: "Ru", name: "ruthenium", number: 44, weight: 10107 },
    Element { symbol: "Rh", name: "rhodium", number: 45, weight: 10291 },
    Element { symbol: "Pd", name: "palladium", number: 46, weight: 10642 },
    Element { symbol: "Ag", name: "silver", number: 47, weight: 10787 },
    Element { symbol: "Cd", name: "cadmium", number: 48, weight: 11241 },
    Element { symbol: "In", name: "indium", number: 49, weight: 11482 },
    Element { symbol: "Sn", name: "tin", number: 50, weight: 11871 },
    Element { symbol: "Sb", name: "antimony", number: 51, weight: 12176 },
    Element { symbol: "Te", name: "tellurium", number: 52, weight: 12760 },
    Element { symbol: "I", name: "iodine", number: 53, weight: 12690 },
    Element { symbol: "Xe", name: "xenon", number: 54, weight: 13129 },
    Element { symbol: "Cs", name: "caesium", number: 55, weight: 13291 },
    Element { symbol: "Ba", name: "barium", number: 56, weight: 13733 },
    Element { symbol: "La", name: "lanthanum", number: 57, weight: 13891 },
    Element { symbol: "Ce", name: "cerium", number: 58, weight: 14012 },
    Element { symbol: "Pr", name: "praseodymium", number: 59, weight: 14091 },
    Element { symbol: "Nd", name: "neodymium", number: 60, weight: 14424 },
    Element { symbol: "Pm", name: "promethium", number: 61, weight: 14500 },
    Element { symbol: "Sm", name: "samarium", number: 62, weight: 15036 },
    Element { symbol: "Eu", name: "europium", number: 63, weight: 15196 },
    Element { symbol: "Gd", name: "gadolinium", number: 64, weight: 15725 },
    Element { symbol: "Tb", name: "terbium", number: 65, weight: 15893 },
    Element { symbol: "Dy", name: "dysprosium", number: 66, weight: 16250 },
    Element { symbol: "Ho", name: "holmium", number: 67, weight: 16493 },
    Element { symbol: "Er", name: "erbium", number: 68, weight: 16726 },
    Element { symbol: "Tm", name: "thulium", number: 69, weight: 16893 },
    Element { symbol: "Yb", name: "ytterbium", number: 70, weight: 17305 },
    Element { symbol: "Lu", name: "lutetium", number: 71, weight: 17497 },
    Element { symbol: "Hf", name: "hafnium", number: 72, weight: 17849 },
    Element { symbol: "Ta", name: "tantalum", number: 73, weight: 18095 },
    Element { symbol: "W", name: "tungsten", number: 74, weight: 18384 },
    Element { symbol: "Re", name: "rhenium", number: 75, weight: 18621 },
    Element { symbol: "Os", name: "osmium", number: 76, weight: 19023 },
    Element { symbol: "Ir", name: "iridium", number: 77, weight: 19222 },
    Element { symbol: "Pt", name: "platinum", number: 78, weight: 19508 },
    Element { symbol: "Au", name: "gold", number: 79, weight: 19697 },
    Element { symbol: "Hg", name: "mercury", number: 80, weight: 20059 },
    Element { symbol: "Tl", name: "thallium", number: 81, weight: 20438 },
    Element { symbol: "Pb", name: "lead", number: 82, weight: 20720 },
    Element { symbol: "Bi", name: "bismuth", number: 83, weight: 20898 },
    Element { symbol: "Po", name: "polonium", number: 84, weight: 20900 },
    Element { symbol: "At", name: "astatine", number: 85, weight: 21000 },
    Element { symbol: "Rn", name: "radon", number: 86, weight: 22200 },
    Element { symbol: "Fr", name: "francium", number: 87, weight: 22300 },
    Element { symbol: "Ra", name: "radium", number: 88, weight: 22600 },
    Element { symbol: "Ac", name: "actinium", number: 89, weight: 22700 },
    Element { symbol: "Th", name: "thorium", number: 90, weight: 23204 },
    Element { symbol: "Pa", name: "protactinium", number: 91, weight: 23104 },
    Element { symbol: "U", name: "uranium", number: 92, weight: 23803 },
    Element { symbol: "Np", name: "neptunium", number: 93, weight: 23700 },
    Element { symbol: "Pu", name: "plutonium", number: 94, weight: 24400 },
    Element { symbol: "Am", name: "americium", number: 95, weight: 24300 },
    Element { symbol: "Cm", name: "curium", number: 96, weight: 24700 },
    Element { symbol: "Bk", name: "berkelium", number: 97, weight: 24700 },
    Element { symbol: "Cf", name: "californium", number: 98, weight: 25100 },
    Element { symbol: "Es", name: "einsteinium", number: 99, weight: 25200 },
    Element { symbol: "Fm", name: "fermium", number: 100, weight: 25700 },
    Element { symbol: "Md", name: "mendelevium", number: 101, weight: 25800 },
    Element { symbol: "No", name: "nobelium", number: 102, weight: 25900 },
    Element { symbol: "Lr", name: "lawrencium", number: 103, weight: 26200 },
    Element { symbol: "Rf", name: "rutherfordium", number: 104, weight: 26700 },
    Element { symbol: "Db", name: "dubnium", number: 105, weight: 26800 },
    Element { symbol: "Sg", name: "seaborgium", number: 106, weight: 26900 },
    Element { symbol: "Bh", name: "bohrium", number: 107, weight: 27000 },
    Element { symbol: "Hs", name: "hassium", number: 108, weight: 26900 },
    Element { symbol: "Mt", name: "meitnerium", number: 109, weight: 27700 },
    Element { symbol: "Ds", name: "darmstadtium", number: 110, weight: 28100 },
    Element { symbol: "Rg", name: "roentgenium", number: 111, weight: 28200 },
    Element { symbol: "Cn", name: "copernicium", number: 112, weight: 28500 },
    Element { symbol: "Nh", name: "nihonium", number: 113, weight: 28600 },
    Element { symbol: "Fl", name: "flerovium", number: 114, weight: 29000 },
    Element { symbol: "Mc", name: "moscovium", number: 115, weight: 29000 },
    Element { symbol: "Lv", name: "livermorium", number: 116, weight: 29300 },
    Element { symbol: "Ts", name: "tennessine", number: 117, weight: 29400 },
    Element { symbol: "Og", name: "oganesson", number: 118, weight: 29400 },
];
