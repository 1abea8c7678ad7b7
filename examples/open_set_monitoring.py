"""Watch the share of rejected images: it rises when images come that belong to none of the classes.

The threshold is one that the bundle brings, the cosine under which 5 % of the test images of known classes lie. Batches
of digits hold more and more patches of photographs.

    python examples/open_set_monitoring.py

prints on one CPU core:

    cosine under 0.987 rejects 5% of known images; alarm above 11.5% of 100
      0% foreign:   7% rejected
      2% foreign:   9% rejected
      5% foreign:   7% rejected
     10% foreign:  14% rejected, alarm
     20% foreign:  21% rejected, alarm
     50% foreign:  50% rejected, alarm
    of all 228 foreign images 87.7% are rejected
"""

import numpy as np
from PIL import Image

import zoo
from training.data import digits_split, load_data

BATCH, DEVIATIONS = 100, 3.0

classifier = zoo.load("proto_resnet20_cifar.nonl_digits")
rejections = {row["frr"]: row["cosine"] for row in classifier.bundle.record["open_set"]["rejections"]}
threshold, expected = rejections[0.05], 0.05
limit = expected + DEVIATIONS * np.sqrt(expected * (1 - expected) / BATCH)
print(f"cosine under {threshold:.3f} rejects {expected:.0%} of known images; alarm above {limit:.1%} of {BATCH}")


def nearest(pictures):
    """Cosine of each picture to its nearest prototype, (N,)."""
    return np.array([best.cosine for (best,) in classifier.predict(pictures, k=1)])


photographs = load_data("patches", classifier.bundle.preprocessing).test.images
known = nearest([picture for picture, _ in digits_split()[1]])
foreign = nearest([Image.fromarray(pixels) for pixels in photographs])
generator = np.random.default_rng(0)
for share in (0.0, 0.02, 0.05, 0.1, 0.2, 0.5):
    count = round(share * BATCH)
    batch = np.concatenate([generator.choice(known, BATCH - count), generator.choice(foreign, count)])
    rejected = np.mean(batch < threshold)
    print(f"{share:4.0%} foreign: {rejected:4.0%} rejected{', alarm' if rejected > limit else ''}")
print(f"of all {len(foreign)} foreign images {np.mean(foreign < threshold):.1%} are rejected")
