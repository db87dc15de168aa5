"""Given names and surnames that the redaction knows, and the capitalised words that follow a name without being one.

The commonest of four languages, without those that are also places that flights go to or everyday words when they
stand alone (Charlotte, Austin, Grace, Mark): a name counts only beside another capitalised word, so those are here
for that use. Who has a name that is not here is found by a cue ("my name is"), or not at all.
"""

from __future__ import annotations

_GIVEN = """
aaron adam adrian agnes alain alan albert alejandra alejandro alex alexander alexandra alice alicia alina allison
alvaro amanda amelie amy ana andrea andreas andres andrew angela angelika anja anke anna anne annette annie anthony
antoine antonio arnaud arthur ashley astrid aurelie barbara beatriz ben benjamin benoit bernard bernd bettina birgit
brandon brian brigitte bruno camille carla carlos carmen carol carole caroline carolyn catherine cecile celine
charles charlotte chloe chris christian christina christine christoph christophe christopher claire clara claudia
claudine clement concepcion cristina cynthia dagmar daniel daniela david deborah debra denis dennis diana diane diego
dieter dietmar dirk dolores dominik dominique donald donna dorothy edward elena elisabeth elise elizabeth elke emil
emily emma emmanuel enrique eric erik erika ernst esther etienne eva fabian fabien felix fernando florence florian
francine francis francisca francisco franck francois francoise frank franz frederic friedrich fritz gabriel gabriela
gabriele george georg gerald gerard gerd gerhard gilles gisela gloria gonzalo greg gregory guillaume guillermo gunter
gustavo hannah hans harald hector heather heidi heike heinrich heinz helen helene helga helmut henri henry herbert
hermann hugo ignacio ines inge ingrid irene isabel isabelle jacob jacqueline jacques jaime james jan jana jane janet
jason javier jean jeff jeffrey jennifer jens jerome jesse jessica jesus joachim joan joanna joao jochen joel johann
johanna johannes john jonas jonathan jordan jorge jose joseph josefa joshua juan juana juergen jurgen julia julian
julie julien jutta karen karin karl karsten katharina katherine kathleen kathrin katja kelly kenneth kerstin kevin
kim klaus kurt kyle larry lars laura lauren laurence laurent lea lena leon leonie linda lisa louis louise luc lucas
lucia lucie luis luisa lukas madeleine manfred manon manuel manuela marc marcel marco marcus margaret margit maria
marie marina mario marion markus marlene martha martin martina martine mary mathias mathieu mathilde matthew matthias
maurice max maximilian megan melanie melissa mercedes michael michaela michel michele michelle miguel mike mireille
mohamed mohammed monica monika monique nadine nancy natalia natalie nathalie nathan nicholas nicolas nicole nina noah
nora norbert olaf oliver olivia olivier oscar pablo pamela pascal patricia patrice patrick paul paula paulina pauline
pedro peter petra philip philipp philippe pia pierre pilar rachel rafael rainer ralf ramon raquel raul raymond rebecca
regina reinhard renate rene ricardo richard rita robert roberto rocio roger roland rolf romain ronald rosa rosario
rudolf ruth ryan sabine sabrina samantha samuel sandra sara sarah scott sebastian sebastien sergio sharon shirley
silke silvia simon simone sofia sonia sophie stefan stefanie steffen stephan stephane stephanie stephen steve steven
susan susana susanne suzanne sven sylvia sylvie teresa theo theresa therese thierry thomas thorsten tim timothy tobias
tom tomas torsten udo ulrich ulrike ursula ute uwe valerie vanessa vera veronica veronique victor victoria vincent
virginie volker walter werner wilhelm william wolfgang xavier yann yannick yves yvonne zoe grace mark jack austin
"""

_SURNAMES = """
adams alonso alvarez anderson andre bailey baker barnes bauer baumann becker bennett berger bernard blanc blanco bonnet
boyer braun brooks brown butler campbell carter castillo castro chevalier clark clement collins cook cooper cox cruz
davis delgado diaz diez dominguez dubois dufour dupont durand edwards evans faure fernandez fischer flores foster
fournier francois friedrich fuchs garcia garnier garrido gauthier gil girard gomez gonzalez gray green guerin gunther
gutierrez hahn hall harris hartmann hernandez herrmann hill hoffmann hofmann howard hughes iglesias jackson james
jenkins jimenez johnson jones kaiser keller kelly king klein koch kohler konig kruger kuhn lambert lange lefebvre
legrand lehmann leroy lewis long lopez lorenzo maier marin marino martin martinez medina mercier meyer miller mitchell
molina moore morales moreau morel moreno morgan morris muller mueller munoz murphy myers navarro nelson neumann nguyen
nunez ortega ortiz parker patel perez perry peters peterson petit pfeiffer phillips powell price prieto ramirez ramos
reed richard richardson richter rivera robert robin robinson rodriguez rogers roberts romero rousseau roussel roux
rubio ruiz russell sanchez sanders santiago santos sanz schafer schmid schmidt schmitt schmitz schneider scholz
schroder schroeder schubert schulz schulze schwarz scott serrano simmons simon smith stewart suarez sullivan taylor
thomas thompson torres turner vargas vasquez vazquez vega vincent vogel vogt wagner walker walter ward watson weber
weiss werner white williams wilson winkler wolf wood wright young zimmermann
"""

_NOT_SURNAMES = """
airlines airport airways air app arrival boarding bus center city club express flight flights gate hotel international
lounge security service station street terminal and but the was is are were has had for from said says told with on in
at to und oder aber der die das ist war hat et mais le la les est sont etait y pero el los es fue i we they he she it
"""

_WORDS_TOO = """
mark grace jack max art rose sandra rita jan marie adam frank dirk luis pia long young king price wood hill green
brown white gray petit blanc wolf cook ward reed klein koch lange legrand faure blanco marino kaiser keller richter
vogel weiss jordan kim rocio carol carmen pilar mercedes clement santos fuchs schneider clark noah mercier bonnet
manuel gloria robin simon hall hahn gil ramon leon
"""

GIVEN: frozenset[str] = frozenset(_GIVEN.split())
SURNAMES: frozenset[str] = frozenset(_SURNAMES.split())
NOT_SURNAMES: frozenset[str] = frozenset(_NOT_SURNAMES.split())
#: Words before they are names: in lower case they are taken for words.
WORDS_TOO: frozenset[str] = frozenset(_WORDS_TOO.split())
