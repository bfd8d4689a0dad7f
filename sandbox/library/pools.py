"""The invented people, companies and words that scenarios are filled with, no two the same, so that a walk meets each once.

Where a name has two parts their numbers share no divisor, which keeps whole names apart for as long as can be.
"""

from __future__ import annotations


def _entries(text: str) -> tuple[str, ...]:
    return tuple(text.split())


GIVEN_NAMES = _entries(
    """
    Adaeze Aino Alba Amadou Anouk Arvid Asel Bashir Beatriz Benedek Camila Ciaran Dagny Dalia Darko Delphine Einar
    Elif Emeka Enzo Farah Fenna Florin Gaspard Gudrun Hamza Hedda Ilka Imre Ines Jarek Joris Kaia Kalinda Katalin
    Kofi Laleh Leocadia Lubna Magnus Mairead Marisol Mateus Mehmet Milena Mira Nadir Nils Nkechi Odile Oskar Paloma
    Petra Quentin Rasmus Renske Saoirse Selim Tamsin Tomasz Yusra
    """
)

FAMILY_NAMES = _entries(
    """
    Aalto Abara Achterberg Adeyemi Albescu Almqvist Anzures Ashdown Baptista Barzani Beausoleil Bergqvist Bielski
    Bonnaire Brandvold Cabrera Castellane Chukwu Corrigan Csonka Dahlgren Demirci Diallo Dragomir Eklund Elgin
    Escarra Fairweather Farkas Fenwick Ferreira Galanis Gwozdek Haddad Halloran Hartog Havili Holmgren Idowu Ilves
    Iversen Jankovic Jasinski Kallas Kaplan Karimov Kessler Kinsella Kovalenko Kruse Lachance Laghari Lindqvist
    Lovric Maalouf Mbeki Meijer Melnyk Mirza Moravec Naidoo Nakache Norling Nwosu Obuya Okafor Oyelaran Palmgren
    Pereyra Petrossian Quispe Radek Rantanen Reinholt Rosales Sabry Salminen Sandoval Sekou Sigurdsen Soares Strand
    Szabo Tavares Teller Thorsen Tremblay Uzun Vasquez Veldman Verhoeven Vukovic Wexler Yildiz Zamora Zielinski
    Zubiri
    """
)

COMPANY_NAMES = _entries(
    """
    Halden Morrow Tessel Ardent Brackwater Calder Dunmere Eastholm Fallow Garrick Hartmoor Inverness Jarrow Kestrel
    Larkhill Merrin Northam Ostrava Pellworm Quillon Rennick Selby Tarn Ullswater Venn Wickham Yarrow Zephyr Aldgate
    Bexley Corvane Delmar Elmstead Farrow Glenoak Highmark Ironbridge Juniper Kinnaird Lowther Marrable Netherby
    Oakhurst Penrose Ravensworth Stanmore Thornbury Umber Vantry Westerly Aspen Birchall Coldharbour
    """
)

COMPANY_TRADES = _entries(
    """
    Freight Dairy Ceramics Water Logistics Orchards Print Rail Textiles Grain Shipping Optics Timber Energy Foods
    Tools Marine Paper Glass Motors Insurance Housing Surveys Press Seeds Storage Cement Transit Packaging Steel
    Clinics Media Airways Salt Brewing Robotics Archive Fisheries Cables Harbours Forestry Analytics Instruments
    Bakeries Weather Ferries Libraries Metals Parcels Pharmacies Telecom Tourism Vineyards Waste Wool Quarries Mills
    Cycles Books Hydro Catering
    """
)

WORDS = _entries(
    """
    alder amber anchor arbor ash aster badger barley basalt beacon birch bison bramble brook canyon cedar chalk
    clover cobalt comet copper coral crane crest cypress dahlia delta dove drift dune eagle elder elm ember falcon
    fern finch fjord flint forge fox garnet glacier grove gull harbor hawk hazel heath heron hollow indigo iris iron
    ivy jade juniper kelp kite lagoon larch lark laurel lichen linden lotus lynx maple marble marlin marsh meadow
    merlin mesa moss nettle north oak ochre olive onyx opal orchid osprey otter pebble pine plover poplar prairie
    quarry quartz raven reed ridge river robin rowan saffron sage salt sierra slate sorrel sparrow spruce stone
    swift tarn teal thistle thorn tide tundra umber vale violet walnut willow wren yarrow zephyr
    """
)
