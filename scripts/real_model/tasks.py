"""Tasks for a chat model, with four choices: instructions about the form of an answer, and general knowledge.

The choices of an instruction are one list in four forms, and the same for all four instructions about it: the instruction alone
makes one of them right. (Answers that greedy decoding must give to the letter, SmolLM2-135M-Instruct gave to none of 116.)"""

import random

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
WORDS = ("apple river window garden silver music yellow bridge coffee winter mountain pencil ocean candle market forest island "
         "rabbit mirror blanket thunder ladder kitchen orange planet sugar button castle feather lemon").split()  # fmt: skip
CAPITALS = """France Paris|Italy Rome|Spain Madrid|Germany Berlin|Japan Tokyo|China Beijing|Russia Moscow|Egypt Cairo|Greece Athens
Portugal Lisbon|Ireland Dublin|Austria Vienna|Poland Warsaw|Hungary Budapest|Sweden Stockholm|Norway Oslo|Finland Helsinki
Denmark Copenhagen|Canada Ottawa|Cuba Havana|Peru Lima|Chile Santiago|Kenya Nairobi|India Delhi|Thailand Bangkok|Iran Tehran
Iraq Baghdad|Turkey Ankara|Belgium Brussels|Ukraine Kyiv|Vietnam Hanoi|Australia Canberra"""
OPPOSITES = """hot cold|big small|fast slow|early late|full empty|rich poor|dark light|hard soft|strong weak|old young|high low|wet dry
happy sad|clean dirty|loud quiet|thick thin|open closed|near far|love hate|begin end"""
ELEMENTS = """hydrogen H|oxygen O|carbon C|nitrogen N|sodium Na|iron Fe|gold Au|silver Ag|copper Cu|helium He|calcium Ca|lead Pb
tin Sn|potassium K|chlorine Cl|magnesium Mg"""
KINDS = """A dog animal|A rose flower|Iron metal|A violin instrument|Red color|Chess game|A hammer tool|A carrot vegetable|An eagle bird
A salmon fish|Rice grain|Mars planet|French language|Tennis sport|A shirt garment|Winter season"""


def pairs(text):
    for line in text.replace("\n", "|").split("|"):
        yield line.rsplit(" ", 1)


# Forms that an instruction can ask for, each with the function that writes a list of words in it.
FORMS = {
    "separated by commas": ", ".join,
    "one on each line": "\n".join,
    "in capital letters": lambda words: " ".join(words).upper(),
    "in reverse order": lambda words: " ".join(reversed(words)),
}


def instructions():
    for at in range(0, len(WORDS), 3):
        words = WORDS[at : at + 3]
        for right, asked in enumerate(FORMS):
            question = f"Write these words {asked}: {' '.join(words)}"
            context = f"{SYSTEM}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            yield {"context": context, "choices": [form(words) for form in FORMS.values()], "answer": right, "target_delimiter": ""}


def choices(template, table, dice):
    known = list(pairs(table))
    for name, right in known:
        wrong = dice.sample(sorted({other for _, other in known} - {right}), 3)
        answers = wrong + [right]
        dice.shuffle(answers)
        yield {"context": template.format(name), "choices": answers, "answer": answers.index(right)}


def knowledge():
    dice = random.Random(1)
    tables = [("The capital of {} is", CAPITALS), ("The opposite of {} is", OPPOSITES), ("The chemical symbol of {} is", ELEMENTS),
              ("{} is a kind of", KINDS)]  # fmt: skip
    return [item for template, table in tables for item in choices(template, table, dice)]


def all_tasks():
    return {"instructions": list(instructions()), "knowledge": knowledge()}
