"""Simulated complaints that the text model was not fitted on: other sentences, same meanings."""

from __future__ import annotations

HELD_OUT: dict[str, dict[str, tuple[str, ...]]] = {
    "false_reassurance": {
        "en": (
            "Your forecast said fine and we left {n} minutes behind schedule.",
            "Everything green in the app, then hours of waiting at {x}.",
            "No hint of a problem, yet my connection in {x} was gone.",
        ),
        "de": (
            "Alles grün in der App, dann stundenlanges Warten in {x}.",
            "Niemand hat mich gewarnt und ich habe den Anschluss verpasst.",
            "Pünktlich angekündigt, {n} Minuten zu spät abgeflogen.",
        ),
        "fr": (
            "Tout au vert dans l'appli, puis des heures d'attente à {x}.",
            "Personne ne m'a prévenu, correspondance ratée.",
            "Départ à l'heure promis, {n} minutes de retard.",
        ),
        "es": (
            "Todo en verde en la app y luego horas de espera en {x}.",
            "Nadie me avisó y perdí mi conexión.",
            "Prometieron puntualidad y hubo {n} minutos de retraso.",
        ),
    },
    "false_alarm": {
        "en": (
            "You predicted a delay and the plane left right on schedule.",
            "I changed my plans for nothing, {x} was on time.",
            "The warned delay never happened.",
        ),
        "de": (
            "Verspätung angekündigt, abgeflogen wie geplant.",
            "Ich habe umsonst umgebucht, Fehlalarm.",
            "Die angekündigte Verspätung gab es nie.",
        ),
        "fr": (
            "Retard annoncé, départ comme prévu.",
            "J'ai changé mes plans pour rien, fausse alerte.",
            "Le retard annoncé n'a jamais eu lieu.",
        ),
        "es": (
            "Retraso anunciado y salió según lo previsto.",
            "Cambié mis planes para nada, falsa alarma.",
            "El retraso anunciado nunca ocurrió.",
        ),
    },
    "late_alert": {
        "en": (
            "The warning reached me when I was already boarding.",
            "Correct warning, but I needed it sooner.",
            "Getting the alert at {x} airport does not help me any more.",
        ),
        "de": (
            "Die Meldung kam erst beim Einsteigen.",
            "Richtige Warnung, aber ich hätte sie früher gebraucht.",
            "Als die Warnung kam, war ich schon unterwegs nach {x}.",
        ),
        "fr": (
            "Le message est arrivé pendant l'embarquement.",
            "Bonne alerte, mais il me la fallait plus tôt.",
            "Quand l'alerte est arrivée, j'étais déjà en route pour {x}.",
        ),
        "es": (
            "El mensaje llegó durante el embarque.",
            "Aviso correcto, pero lo necesitaba antes.",
            "Cuando llegó el aviso ya iba de camino a {x}.",
        ),
    },
    "wrong_flight": {
        "en": (
            "I fly to {x}, why do you tell me about another flight?",
            "That is not my flight at all.",
            "Wrong flight number in the forecast.",
        ),
        "de": (
            "Ich fliege nach {x}, warum sehe ich einen anderen Flug?",
            "Das ist gar nicht mein Flug.",
            "Falsche Flugnummer in der Vorhersage.",
        ),
        "fr": (
            "Je vais à {x}, pourquoi un autre vol ?",
            "Ce n'est pas du tout mon vol.",
            "Mauvais numéro de vol dans la prévision.",
        ),
        "es": (
            "Voy a {x}, ¿por qué veo otro vuelo?",
            "Ese no es mi vuelo.",
            "Número de vuelo equivocado en la previsión.",
        ),
    },
    "app_problem": {
        "en": (
            "App crashes when I open the alert.",
            "Nothing but a spinning wheel on the screen.",
            "The button does nothing since the update.",
        ),
        "de": (
            "Die App stürzt ab, wenn ich die Warnung öffne.",
            "Der Bildschirm bleibt leer.",
            "Die Taste tut seit dem Update nichts.",
        ),
        "fr": (
            "L'application plante quand j'ouvre l'alerte.",
            "L'écran reste vide.",
            "Le bouton ne fait plus rien.",
        ),
        "es": (
            "La aplicación se cierra cuando abro el aviso.",
            "La pantalla queda vacía.",
            "El botón ya no hace nada.",
        ),
    },
    "price": {
        "en": ("Far too expensive for such service.", "Give me my money back.", "The fare to {x} doubled."),
        "de": (
            "Viel zu teuer für diesen Service.",
            "Geld zurück, bitte.",
            "Der Preis nach {x} hat sich verdoppelt.",
        ),
        "fr": ("Bien trop cher pour ce service.", "Rendez-moi mon argent.", "Le prix pour {x} a doublé."),
        "es": (
            "Demasiado caro para este servicio.",
            "Devuélvanme el dinero.",
            "El precio a {x} se ha duplicado.",
        ),
    },
    "praise": {
        "en": (
            "Thank you, I could plan my day.",
            "The forecast for {x} was exactly right, great work.",
            "Very helpful, keep going.",
        ),
        "de": (
            "Danke, so konnte ich planen.",
            "Die Vorhersage für {x} war genau richtig.",
            "Sehr hilfreich, weiter so.",
        ),
        "fr": (
            "Merci, j'ai pu m'organiser.",
            "La prévision pour {x} était parfaite.",
            "Très utile, continuez.",
        ),
        "es": ("Gracias, pude organizarme.", "La previsión para {x} fue perfecta.", "Muy útil, sigan así."),
    },
    "other": {
        "en": (
            "My suitcase arrived damaged, baggage service was closed.",
            "No food on board.",
            "The crew ignored us.",
        ),
        "de": ("Mein Koffer kam beschädigt an.", "Kein Essen an Bord.", "Das Personal hat uns ignoriert."),
        "fr": ("Ma valise est arrivée abîmée.", "Pas de repas à bord.", "L'équipage nous a ignorés."),
        "es": ("Mi maleta llegó dañada.", "Sin comida a bordo.", "La tripulación nos ignoró."),
    },
}
