"""The paper's table on ISIC-2017: every row with one command, its controls beside it, and how sure one can be of it.

    rows      which rows there are: what each trains, and what it is compared with
    place     where they are run
    records   what is known of a row beside its predictions: its choices, its images, what made it
    measure   one row with one seed: train it, score it, keep what came out in a folder
    regression  the row in which no network learns
    maps      how well maps and boxes find the lesions, and whether what they find is what counts
    figures   predictions of several seeds -> figures with intervals
    page      these as Markdown
    plots     curves, and a gallery of maps
    report    all of it: the table as JSON, its page and its pictures

What is chosen on which images stands in results/isic2017-protocol.md.
"""
