"""Prompts: the many ways in which people ask for the same icon, and which icons can be asked for in a colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.icons.colours import COLOURS

#: Everyday words for icons whose names are not what one would type. Right: a name of the package, as words.
OTHER_WORDS: dict[str, str] = {
    "car": "automobile", "bike": "bicycle", "plane": "airplane", "aeroplane": "airplane", "truck": "delivery truck",
    "lorry": "articulated lorry", "boat": "sailboat", "sailing boat": "sailboat", "motorbike": "motorcycle",
    "lamp": "light bulb", "bulb": "light bulb", "phone": "mobile phone", "cellphone": "mobile phone",
    "smartphone": "mobile phone", "computer": "desktop computer", "notebook computer": "laptop", "tv": "television",
    "clock": "mantelpiece clock", "mug": "hot beverage", "cup of coffee": "hot beverage", "coffee": "hot beverage",
    "tea": "teacup without handle", "beer": "beer mug", "wine": "wine glass", "burger": "hamburger",
    "fries": "french fries", "chips": "french fries", "ice cream cone": "soft ice cream", "donut": "doughnut",
    "apple": "red apple", "cake": "birthday cake", "slice of cake": "shortcake", "cheese": "cheese wedge",
    "egg": "egg", "steak": "cut of meat", "chicken leg": "poultry leg", "corn": "ear of corn", "chili": "hot pepper",
    "pepper": "bell pepper", "heart": "red heart", "love": "red heart", "home": "house", "flat": "office building",
    "sun": "sun", "moon": "crescent moon", "snow": "snowflake", "rain": "cloud with rain",
    "storm": "cloud with lightning",
    "lightning": "high voltage", "flame": "fire", "wave": "water wave", "drop": "droplet", "planet": "ringed planet",
    "saturn": "ringed planet", "earth": "globe showing europe africa", "world": "globe showing europe africa",
    "flower": "blossom", "cherry flower": "cherry blossom", "leaf": "fallen leaf", "tree": "deciduous tree",
    "fir": "evergreen tree", "christmas": "christmas tree", "mouse": "mouse", "cow": "cow", "pig": "pig",
    "puppy": "dog", "kitten": "cat", "kitty": "cat", "bunny": "rabbit", "bee": "honeybee", "ladybird": "lady beetle",
    "bug": "beetle", "fish": "fish", "whale": "spouting whale", "bird": "bird", "chick": "baby chick",
    "hen": "chicken", "horse": "horse", "donkey": "donkey", "dino": "sauropod", "dinosaur": "sauropod",
    "tyrannosaurus": "t rex", "monster": "alien monster", "robot head": "robot", "ghost": "ghost", "poo": "pile of poo",
    "skull and bones": "skull and crossbones", "smile": "slightly smiling face", "smiley": "grinning face",
    "happy face": "smiling face with smiling eyes", "sad face": "frowning face", "angry": "angry face",
    "laughing": "face with tears of joy", "thumb up": "thumbs up", "like": "thumbs up", "clapping": "clapping hands",
    "muscle": "flexed biceps", "eye": "eye", "lips": "mouth", "shirt": "t shirt", "trousers": "jeans",
    "pants": "jeans", "shoe": "running shoe", "sneaker": "running shoe", "hat": "top hat", "cap": "billed cap",
    "bag": "handbag", "rucksack": "backpack", "specs": "glasses", "shades": "sunglasses", "diamond": "gem stone",
    "soccer": "soccer ball", "football": "soccer ball", "tennis ball": "tennis", "medal": "sports medal",
    "cup": "trophy", "prize": "trophy", "game": "video game", "controller": "video game", "dice": "game die",
    "chess": "chess pawn", "guitar": "guitar", "piano": "musical keyboard", "drums": "drum", "book": "closed book",
    "letter": "envelope", "mail": "envelope", "parcel": "package", "box": "package", "key": "key", "lock": "locked",
    "scissors": "scissors", "pencil": "pencil", "pin": "pushpin", "folder": "file folder", "calendar": "calendar",
    "chart": "bar chart", "money": "money bag", "dollar": "dollar banknote", "card": "credit card",
    "magnifier": "magnifying glass tilted left", "microscope": "microscope", "pill": "pill", "syringe": "syringe",
    "spanner": "wrench", "gun": "water pistol", "axe": "axe", "sword": "dagger", "toilet paper": "roll of paper",
    "tub": "bathtub", "alarm": "alarm clock", "sand glass": "hourglass done", "gift": "wrapped gift",
    "present": "wrapped gift", "balloons": "balloon", "party": "party popper", "flag": "triangular flag",
    "star": "star", "tick": "check mark", "check": "check mark", "cross": "cross mark", "warning sign": "warning",
    "metro": "metro", "train": "locomotive", "bus stop sign": "bus stop", "spaceship": "rocket", "ufo": "flying saucer",
    "tent": "tent", "mountain": "mountain", "island": "desert island",
    "beach": "beach with umbrella", "tower": "tokyo tower",
}  # fmt: skip

COLOURED = ("{colour} {thing}", "{a} {colour} {thing}", "{thing} in {colour}", "{a} {thing} that is {colour}",
            "the {colour} {thing}", "icon of {a} {colour} {thing}", "{colour} coloured {thing}")  # fmt: skip
PLAIN = ("{a} {thing}", "the {thing}", "icon of {thing}", "icon of {a} {thing}", "{thing} icon", "{thing} emoji",
         "{a} picture of {a} {thing}", "picture of {thing}", "an image of {a} {thing}", "a drawing of {a} {thing}",
         "please draw {a} {thing}", "draw {thing}")  # fmt: skip
AS_IT_IS, SHUFFLED, OTHER = 0.40, 0.15, 0.4
#: Groups with things that can have any colour.
PAINTED = ("Activities", "Animals & Nature", "Food & Drink", "Objects", "Travel & Places")


def has_colour(name: str) -> bool:
    """Whether a name already says a colour."""
    return bool(set(name.split()) & {*COLOURS, "gray", "white", "gold", "rainbow"})


class Prompts:
    """Prompts for the icons with these names."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.others: dict[str, list[str]] = {}
        taken = set(names)
        for word, name in OTHER_WORDS.items():
            if name in taken and word not in taken:
                self.others.setdefault(name, []).append(word)

    def ask(self, index: int, colour: str | None, random: np.random.Generator) -> str:
        """One prompt of many for an icon, in a colour if one is named."""
        thing = self.thing(index, random)
        if colour is not None:
            return filled(COLOURED[int(random.integers(len(COLOURED)))], thing, colour)
        kind = random.random()
        if kind < AS_IT_IS:
            return thing
        if kind < AS_IT_IS + SHUFFLED:
            return " ".join(random.permutation(thing.split()))
        return filled(PLAIN[int(random.integers(len(PLAIN)))], thing)

    def thing(self, index: int, random: np.random.Generator) -> str:
        """What the icon is called, now and then by another word."""
        name = self.names[index]
        others = self.others.get(name)
        return others[int(random.integers(len(others)))] if others and random.random() < OTHER else name


def filled(template: str, thing: str, colour: str = "") -> str:
    """A template with its words, and the article that the next word wants."""
    words = template.format(a="{a}", thing=thing, colour=colour).split()
    return " ".join(
        (_article(words[place + 1]) if word == "{a}" else word) for place, word in enumerate(words)
    )  # fmt: skip


def _article(word: str) -> str:
    return "an" if word[:1].lower() in "aeiou" else "a"


def vocabulary(names: Sequence[str]) -> list[str]:
    """Every word of every prompt, for the tokenizer."""
    return [
        *names,
        *OTHER_WORDS,
        *COLOURS,
        "gray",
        *(t.replace("{", " ").replace("}", " ") for t in (*COLOURED, *PLAIN)),
        "an a",
    ]
