# A competition table from the command line alone; run it in a folder with competition_data.py.
python competition_data.py .
LABELS="--targets art,law,health,money,sport --id id"
jointrain fit train.csv $LABELS --out apart --schedule separate
jointrain fit train.csv $LABELS --out together
jointrain group train.csv $LABELS --folds 3 --seeds 1 --trials 3 --epochs 20 --out groups
jointrain weigh train.csv $LABELS --folds 3 --seeds 1 --trials 4 --epochs 20 --out weights
jointrain predict together test.csv --out predictions.csv
cut -d, -f1,4,7,10,13,16 predictions.csv > submission.csv
