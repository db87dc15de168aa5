"""What simulated travellers say in four languages, by what it is about: texts to fit the demo's text model on.

`benchmarks/feedback_topics.py` has others, which the model never sees.
"""

from __future__ import annotations

import numpy as np

from ratchet.replay.comments import TEMPLATES

_PLACES = ("JFK", "Newark", "LaGuardia", "Boston", "Atlanta", "Chicago", "Denver", "Miami")

SAID: dict[str, dict[str, tuple[str, ...]]] = {
    "false_reassurance": {
        "en": (
            *TEMPLATES["false_reassurance"],
            "You promised on time and we sat at {x} for {n} minutes.",
            "Never warned about {x}, I lost my whole evening.",
        ),
        "de": (
            "Laut App hieß es pünktlich, dann {n} Minuten Verspätung.",
            "Keine Warnung, und der Anschluss in {x} war weg.",
            "Wurde nicht gewarnt und habe in {x} lange gewartet.",
            "Der Flug sollte pünktlich sein, war er aber nicht.",
        ),
        "fr": (
            "L'appli disait à l'heure, {n} minutes de retard.",
            "Aucune alerte, et j'ai raté ma correspondance à {x}.",
            "Pas prévenu, longue attente à {x}.",
            "Annoncé à l'heure, parti bien plus tard.",
        ),
        "es": (
            "La app decía puntual y fueron {n} minutos de retraso.",
            "Sin aviso, perdí mi conexión en {x}.",
            "No me avisaron y esperé mucho en {x}.",
            "Anunciado a tiempo, salió mucho más tarde.",
        ),
    },
    "false_alarm": {
        "en": (
            *TEMPLATES["false_alarm"],
            "Another false alarm, {x} was fine.",
            "Warned and it left on time from {x}.",
        ),
        "de": (
            "Fehlalarm, der Flug nach {x} ging normal.",
            "Umsonst gewarnt, ich habe alles umgebucht.",
            "Wegen der Warnung früher los, dann doch pünktlich.",
            "Unnötig gewarnt, keine Verspätung in {x}.",
        ),
        "fr": (
            "Fausse alerte, le vol pour {x} est parti normalement.",
            "Alerte pour rien, j'ai tout changé.",
            "À cause de l'alerte je suis parti tôt, finalement à l'heure.",
            "Alerté pour rien, aucun retard à {x}.",
        ),
        "es": (
            "Falsa alarma, el vuelo a {x} salió normal.",
            "Aviso para nada, cambié todos mis planes.",
            "Por el aviso salí pronto y al final puntual.",
            "Aviso falso, ningún retraso en {x}.",
        ),
    },
    "late_alert": {
        "en": (
            *TEMPLATES["late_alert"],
            "The alert came late, I was already at the gate in {x}.",
            "Please tell me earlier than {n} minutes before.",
        ),
        "de": (
            "Die Warnung kam zu spät, ich war schon unterwegs.",
            "Bitte früher warnen, {n} Minuten reichen nicht.",
            "Zu spät gewarnt, ich war schon am Flughafen {x}.",
            "War schon am Flughafen, als die Meldung kam.",
        ),
        "fr": (
            "Alerte trop tard, j'étais déjà en route.",
            "Il faut prévenir plus tôt que {n} minutes avant.",
            "Déjà à l'aéroport de {x} quand c'est arrivé.",
            "Alerte tardive, impossible de changer.",
        ),
        "es": (
            "El aviso llegó tarde, ya iba de camino.",
            "Hay que avisar antes, {n} minutos no bastan.",
            "Ya estaba en el aeropuerto de {x} cuando llegó.",
            "Aviso tardío, no pude cambiar nada.",
        ),
    },
    "wrong_flight": {
        "en": (
            "This is the wrong flight, mine goes to {x}.",
            "You show another flight, not my flight to {x}.",
            "The forecast is for a different flight from {x}.",
            "It shows a flight that I never booked.",
        ),
        "de": (
            "Das ist der falsche Flug, meiner geht nach {x}.",
            "Die App zeigt einen anderen Flug.",
            "Nicht mein Flug, ich fliege nach {x}.",
            "Der Flug nach {x} wurde von mir nie gebucht.",
        ),
        "fr": (
            "C'est le mauvais vol, le mien va à {x}.",
            "L'appli montre un autre vol.",
            "Ce n'est pas mon vol pour {x}.",
            "Un vol pour {x} que je n'ai jamais réservé.",
        ),
        "es": (
            "Es el vuelo equivocado, el mío va a {x}.",
            "La app muestra otro vuelo.",
            "No es mi vuelo a {x}.",
            "Un vuelo a {x} que nunca reservé.",
        ),
    },
    "app_problem": {
        "en": (*TEMPLATES["app_problem"], "It freezes after the update.", "I cannot log in from {x}."),
        "de": (
            "Die App ist zweimal abgestürzt.",
            "Nur eine leere Seite nach dem Antippen.",
            "Die Vorhersage lädt nicht.",
            "Ich kann mich nicht anmelden.",
        ),
        "fr": (
            "L'application plante à {x}.",
            "Une page vide après l'ouverture.",
            "La prévision ne charge pas.",
            "Connexion impossible depuis hier.",
        ),
        "es": (
            "La aplicación se cierra en {x}.",
            "Una página vacía al abrir.",
            "La previsión no carga.",
            "No puedo iniciar sesión desde ayer.",
        ),
    },
    "price": {
        "en": (*TEMPLATES["price"], "I want a refund for {x}.", "{n} dollars charged, what for?"),
        "de": (
            "Viel zu teuer für {n} Minuten Verspätung.",
            "Ich will mein Geld zurück.",
            "Der Preis nach {x} ist zu hoch.",
            "Aufpreis bezahlt und nichts bekommen.",
        ),
        "fr": (
            "Trop cher pour {n} minutes d'attente.",
            "Je veux un remboursement.",
            "Le prix pour {x} est exagéré.",
            "Payé un supplément pour rien.",
        ),
        "es": (
            "Demasiado caro para {n} minutos de espera.",
            "Quiero un reembolso.",
            "El precio a {x} es excesivo.",
            "Pagué un suplemento para nada.",
        ),
    },
    "praise": {
        "en": (*TEMPLATES["praise"], "Great, very helpful at {x}.", "All good, the forecast was right."),
        "de": (
            "Danke, die Vorhersage stimmte genau.",
            "Super App, sehr hilfreich in {x}.",
            "Alles gut nach {x}.",
            "Genau richtig gewarnt, danke.",
        ),
        "fr": (
            "Merci, prévision exacte.",
            "Parfait, très utile à {x}.",
            "Tout s'est bien passé jusqu'à {x}.",
            "Merci pour l'information.",
        ),
        "es": (
            "Gracias, la previsión acertó.",
            "Perfecto, muy útil en {x}.",
            "Todo bien hasta {x}.",
            "Gracias por la información.",
        ),
    },
    "other": {
        "en": (
            "My luggage stayed in {x}.",
            "The food was cold.",
            "Rude crew on the way to {x}.",
            "The seat was broken.",
        ),
        "de": (
            "Mein Gepäck blieb in {x}.",
            "Das Essen war kalt.",
            "Das Personal war unfreundlich.",
            "Der Sitz war kaputt.",
        ),
        "fr": (
            "Mon bagage est resté à {x}.",
            "Le repas était froid.",
            "L'équipage était désagréable.",
            "Le siège était cassé.",
        ),
        "es": (
            "Mi equipaje se quedó en {x}.",
            "La comida estaba fría.",
            "La tripulación fue desagradable.",
            "El asiento estaba roto.",
        ),
    },
}


def topic_texts(
    said: dict[str, dict[str, tuple[str, ...]]], count: int, seed: int
) -> list[tuple[str, str, str]]:
    """`count` texts as (text, language, category); two in ten say a second, harmless sentence as well."""
    rng = np.random.default_rng(seed)
    after = {"en": " Flight to {x}.", "de": " Flug nach {x}.", "fr": " Vol pour {x}.", "es": " Vuelo a {x}."}
    kinds = [(category, language) for category, spoken in said.items() for language in spoken]
    texts = []
    for i in range(count):
        category, language = kinds[i % len(kinds)]
        templates = said[category][language]
        text = templates[int(rng.integers(len(templates)))] + (after[language] if rng.random() < 0.2 else "")
        place, number = _PLACES[int(rng.integers(len(_PLACES)))], int(rng.integers(16, 200))
        names = {"x": place, "n": number, "carrier": "UA", "origin": place, "dest": place, "minutes": number}
        texts.append((text.format(**names), language, category))
    return texts
