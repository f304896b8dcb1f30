"""Made support chats of a maker of kitchen scales, lamps and kettles that does not exist: one house style, and facts that no
model can know (what a lamp's colors mean, how each device is reset, how long it is under warranty)."""

import random

HOUSE = "Larkspur"
# name, part, reset, sign of trouble and its meaning, warranty in years
DEVICES = [
    ("Tarn kettle", "lid seal TK-41", "hold the base button for nine seconds", "three short beeps", "the base has lost its level", 3),
    ("Fell kettle", "limescale filter FK-12", "lift the kettle and press Boil twice", "a slow amber light", "limescale on the heater", 2),
    ("Moor scale", "battery tray MS-07", "take the tray out for a minute", "two dashes on the display", "the weight moved while it was measured", 5),
    ("Glen scale", "glass plate GS-30", "press Tare and Unit together", "the letters LO", "a battery below a third", 4),
    ("Heath lamp", "dimmer ring HL-19", "turn the ring fully left, then right, then left", "a violet light", "no contact with the hub", 6),
    ("Wold lamp", "arm joint WL-22", "unplug it and press the foot five times", "a flicker every ten seconds", "a loose arm joint", 3),
    ("Beck toaster", "crumb tray BT-55", "pull the lever up while you plug it in", "a steady red ring", "crumbs at the sensor", 2),
    ("Dale blender", "drive belt DB-03", "set the dial to P and wait for a click", "a green and red light in turn", "a jug that is not locked", 4),
    ("Crag grinder", "burr set CG-88", "hold Grind and Stop for four seconds", "five quick beeps", "a stone among the beans", 5),
    ("Mere humidifier", "wick MH-61", "empty the tank and hold Mist for six seconds", "a blinking blue drop", "a dry wick", 2),
    ("Pike heater", "dust screen PH-14", "switch it off at the wall for twelve minutes", "the letters HI", "a blocked dust screen", 3),
    ("Lune clock", "backup cell LC-70", "press both bells at once", "a blank colon", "an empty backup cell", 7),
]
NAMES = ["Ada", "Bela", "Carmen", "Dmitri", "Esther", "Farid", "Greta", "Hana", "Ivo", "Jorge", "Kim", "Lena", "Milan", "Noor",
         "Olga", "Pavel", "Rosa", "Sami", "Tove", "Umar", "Vera", "Wanda", "Yara", "Zeno"]  # fmt: skip
GREETINGS = ["Hello", "Hi there", "Good morning", "Hi", "Good evening", "Hello again"]
PLACES = ["in the kitchen", "at the office", "since I moved house", "since yesterday", "after a holiday", "for a week now", "since I cleaned it"]


def sign(device, dice):
    name, part, reset, shows, means, _ = device
    question = dice.choice([f"my {name} shows {shows} {dice.choice(PLACES)}. What does that mean?",
                            f"I see {shows} on the {name}. Is it broken?",
                            f"what does it mean when the {name} has {shows}?"])  # fmt: skip
    answer = (f"On the {name}, {shows} stands for {means}; nothing is broken. Please {reset}. "
              f"If it comes back, the {part} needs to be replaced, which takes no tools.")  # fmt: skip
    return question, answer


def reset(device, dice):
    name, _, how, *_ = device
    question = dice.choice([f"how do I reset the {name}?", f"the {name} does not react to anything {dice.choice(PLACES)}.",
                            f"can I set my {name} back to how it came?"])  # fmt: skip
    return question, f"To reset the {name}, {how}. Your settings are kept for one day, so that you can go back."


def part(device, dice):
    name, piece, *_ = device
    question = dice.choice([f"which spare part do I order for the {name}?", f"I need a new {piece.rsplit(' ', 1)[0]} for my {name}.",
                            f"do you still sell parts of the {name}?"])  # fmt: skip
    return question, (f"For the {name} you need the {piece}. We send it free of charge within {dice.randint(2, 6)} working days; "
                      "the old one goes into the same box.")  # fmt: skip


def warranty(device, dice):
    name, *_, years = device
    bought = dice.randint(1, 9)
    covered = bought <= years
    question = dice.choice([f"I bought a {name} {bought} years ago and it has died. Can you help?",
                            f"is a {name} of {bought} years still under warranty?"])  # fmt: skip
    verdict = "it is covered, and we repair it at no cost" if covered else "it is no longer covered, but we repair it for half of its price"
    return question, f"The {name} has a warranty of {years} years. After {bought} years {verdict}. No receipt is needed."


KINDS = [sign, sign, reset, part, warranty]


def chat(number):
    dice = random.Random(number)
    device = dice.choice(DEVICES)
    name = dice.choice(NAMES)
    ticket = f"LS-{dice.randint(1000, 9999)}"
    question, answer = dice.choice(KINDS)(device, dice)
    messages = [
        {"role": "user", "content": f"{dice.choice(GREETINGS)}, {name} here: {question}"},
        {"role": "assistant", "content": f"Hello {name}, thank you for asking {HOUSE}. {answer} Your ticket is {ticket}."},
    ]
    return {"messages": messages, "work": f"chat {number}"}


def chats(count):
    return [chat(number) for number in range(count)]
