"""Names, items and order numbers; those of the held-out split never occur in training data.

First names, surnames, materials, nouns and numbers are each divided, so a held-out item shares no word.
"""

import random
import zlib

from examples.brands.case import Split


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_FIRST: dict[Split, tuple[str, ...]] = {
    "train": _words("""
        Ada Adele Aiko Alan Alba Alma Amir Anika Anselm Arlo Astrid Baran Beatrix Bela Bianca Bodil
        Boris Bruno Camille Carlos Carmen Casper Celia Chidi Clara Clement Cora Cyril Daphne Dario
        Delia Demir Dorian Edith Eduardo Elias Elif Elsa Emeka Emil Enzo Esther Eva Ezra Fabio Farah
        Felix Fiona Flora Frida Gabriel Gemma Gianni Gloria Goran Greta Gustav Hana Harold Hector
        Helga Hiro Hugo Ilse Imani Ines Irma Isak Ivan Jamal Jasper Jelena Joana Jonas Judith Julius
        Kai Karim Katia Kenji Kira Klaus Lara Leila Leonie Liam Lorenz Lucia Ludwig Luisa Magda
        Malik Marcus Marina Mateo Maud Milan Mina Miriam Nadia Naoki Nestor Nina Noor Odette Olaf
        Olga Omar Oskar Otto Paloma Pascal Petra Quentin Rafael Ravi Regina Remy Rosa Ruben Runa
        Samir Selma Sergio Silas Simone Sonia Stefan Suri Tamara Tariq Tessa Theo Tilda Tobias
        Ursula Vera Viktor Wanda Wilma Xavier Yara Yusuf Zelda Zora
    """),
    "held_out": _words("""
        Agnes Aldo Amara Andrej Antonia Axel Basil Brigitte Caspian Chiara Cosima Damian Deniz Dina
        Edgar Elena Ennio Erika Faisal Fatima Gerda Gilbert Henrik Ida Igor Iris Jacob Jorge Kamil
        Karla Lena Leopold Livia Lukas Marta Maurice Mira Moira Nils Nora Olivia Orson Paula Philip
        Rania Renata Roman Sabine Salome Sanjay Tatiana Thomas Uma Valentin Viola Walter Yasmin Yves
        Zeno Zita
    """),
}
_LAST: dict[Split, tuple[str, ...]] = {
    "train": _words("""
        Abbott Adeyemi Aguilar Albers Amato Andersen Arslan Asante Bauer Becker Bellini Bergman
        Bianchi Blom Bonnet Borges Brandt Brennan Cabrera Calder Campos Carver Castell Chowdhury
        Cohen Colombo Cortez Costa Crane Dahl Danner Delgado Demirci Dietrich Diaz Doyle Drake
        Duarte Dubois Eklund Ellison Engel Fabre Falk Farrell Ferrari Fischer Fletcher Fontaine
        Forsberg Fuchs Gallo Garnier Geller Gomez Greco Grimaldi Haas Hansen Harper Hayashi Heller
        Herrera Hoffman Holm Ibrahim Ikeda Jansen Jensen Kaplan Kato Keller Khan Kimura Kowalski
        Krause Lambert Larsen Laurent Leclerc Lind Lombardi Lopez Lund Madsen Marchetti Marino
        Martell Mehta Mendes Meyer Mori Morrow Nakamura Navarro Neumann Nilsen Novak Okafor Olsen
        Ortega Osei Palmer Parisi Patel Peralta Petrov Pinto Popov Quinn Ramos Reyes Ricci Rinaldi
        Rossi Roth Russo Sato Sauer Schmitt Serrano Silva Simic Soares Sorel Stein Suarez Tanaka
        Tavares Thorne Torres Urban Valdez Varga Vasquez Vogel Wagner Weber Winter Wolff Yamada
        Yilmaz Zeller Zimmer
    """),
    "held_out": _words("""
        Acosta Alvarez Barros Beaumont Boateng Caruso Cervantes Dalton Duval Eriksen Esposito Farouk
        Ferreira Gerhardt Guerra Halloran Hartwig Iwasaki Jovanov Kessler Koch Lefevre Lindqvist
        Lozano Mancini Marlow Mbeki Moretti Nowak Okoye Oliveira Pereira Pryce Quintana Romero
        Salazar Sandoval Santos Schuster Solberg Sundberg Takeda Toledo Ueda Ulrich Velasco Vidal
        Whitaker Yoshida Zamora
    """),
}
_MATERIAL: dict[Split, tuple[str, ...]] = {
    "train": _words("""
        amber beaded blue brass braided brown carved cashmere ceramic cotton crimson crystal denim
        embroidered enamel felt folding glass gold grey hemp ivory jade knitted lace leather marble
        navy nylon oak olive painted pearl pewter plaid plush quartz quilted red ribbed rubber satin
        scarlet silk small steel striped suede teal tin tweed velvet violet white willow woven
        yellow
    """),
    "held_out": _words("""
        bamboo beige bronze canvas cherry cobalt copper cork coral ebony emerald flannel indigo
        lacquered linen maple mohair padded pine pink porcelain purple rattan rose silver slate
        turquoise walnut waxed wool
    """),
}
_NOUN: dict[Split, tuple[str, ...]] = {
    "train": _words("""
        armchair ashtray backpack bag basket belt blanket blazer blouse bowl box bracelet brooch
        brush candle cap cape cardigan carafe case chain chair clock coat corset cup cushion
        decanter desk dress earring fan frame glove goblet handbag hat headband jacket jar jug
        jumper keyring lamp locket mirror mitten mug necklace necktie notebook pendant pillow
        pitcher plate pouch purse ring robe rug saddle satchel shawl shirt shoe skirt slipper spoon
        stool suitcase sweater table tankard throw towel tunic umbrella vest wallet watch
    """),
    "held_out": _words("""
        anklet apron bench bonnet bottle cabinet clutch collar cufflink curtain duffel figurine
        hammock kettle kimono lantern ottoman parasol platter poncho quilt sandal scarf shelf
        tapestry teapot tiara tray trunk vase
    """),
}


def name(source: random.Random, split: Split) -> str:
    """A first name and a surname."""
    return f"{source.choice(_FIRST[split])} {source.choice(_LAST[split])}"


def item(source: random.Random, split: Split) -> str:
    """A material or colour and a noun in the singular: "linen scarf"."""
    return f"{source.choice(_MATERIAL[split])} {source.choice(_NOUN[split])}"


def number(source: random.Random, split: Split, digits: int) -> str:
    """A number of so many digits; a checksum says to which split a number belongs."""
    while True:
        drawn = str(source.randrange(10 ** (digits - 1), 10**digits))
        if (zlib.crc32(drawn.encode()) % 4 == 0) == (split == "held_out"):
            return drawn


def order(source: random.Random, split: Split) -> str:
    """An order number of four to six digits."""
    return number(source, split, source.choice((4, 5, 5, 6)))
