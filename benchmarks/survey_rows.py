"""What the papers of the survey's Table 2 report: one figure a row to compare with.

There is a row for each variant of a recipe, but for steps before a system's training
(``17:pretraining``, ``18:segmentation``); of some, no figure is known.

Those marked "(abstract)" or "(authors' repository)" were seen there; the others are
quoted from the papers as they are commonly cited, and were not checked against them.
"""

from typing import NamedTuple

ACCURACY = ("accuracy", "test.overall.accuracy")
MACRO_F1 = ("macro F1", "test.macro.f1")
SENSITIVITY = ("sensitivity", "operating_point.test.sensitivity")
SPECIFICITY = ("specificity", "operating_point.test.specificity")
COVID_F1 = ("F1 of COVID-19", "test.per_class.COVID-19.f1")


class Row(NamedTuple):
    """One system of one paper.

    Attributes:
      number: of the row in Table 2.
      variant: of the recipe ``configs/survey/rowNN_*.py``; empty: it has but one.
      system: what was built.
      reported: the figure, in the paper's words; empty: none is known.
      source: where it is reported, or would be.
      measures: name and place in ``metrics.json`` of what it is compared with.
    """

    number: int
    variant: str
    system: str
    reported: str
    source: str
    measures: tuple[tuple[str, str], ...] = (ACCURACY,)

    @property
    def key(self) -> str:
        """How the command line names it: ``8:three``, or the number alone."""
        return f"{self.number}:{self.variant}" if self.variant else str(self.number)


_NARIN = "Narin 2020, arXiv 2003.10849"
_COVIDX_NET = "Hemdan 2020, arXiv 2003.11055"
_COVID_NET = "Wang 2020, Sci Rep 10:19549 (authors' repository)"
_BASELINES = "Wang 2020, Sci Rep 10:19549"
_ZHANG = "Zhang 2020, arXiv 2003.12338"
_OZTURK = "Ozturk 2020, CBM 121:103792 (authors' repository)"
_CORONET = "Khan 2020, CMPB 196:105581"
_DEEP_COVID = "Minaee 2020, MedIA 65:101794"
_APOSTOLOPOULOS = "Apostolopoulos 2020, Phys Eng Sci Med 43:635"
_TORAMAN = "Toraman 2020, CSF 140:110122 (abstract)"
_LOEY = "Loey 2020, Symmetry 12(4):651"
_MAHMUD = "Mahmud 2020, CBM 122:103869"
_RAFI = "Rafi 2020, EASL 3(4) (abstract); that this is the survey's row is likely"
_PEREIRA = "Pereira 2020, CMPB 194:105532 (abstract)"
_CHOWDHURY = "Chowdhury 2020, IEEE Access 8:132665"
_AT_98 = (SENSITIVITY, SPECIFICITY)

ROWS: tuple[Row, ...] = (
    Row(1, "resnet50", "ResNet-50", "98.0 %", _NARIN),
    Row(1, "inception_v3", "Inception-v3", "97.0 %", _NARIN),
    Row(1, "inception_resnet_v2", "Inception-ResNet-v2", "87.0 %", _NARIN),
    Row(2, "vgg19", "COVIDX-Net, VGG-19", "90 % of 10 pictures", _COVIDX_NET),
    Row(2, "densenet201", "COVIDX-Net, DenseNet-201", "90 % of 10 pictures",
        _COVIDX_NET),
    Row(2, "inception_v3", "COVIDX-Net, Inception-v3",
        "50 % of 10 pictures, the worst", _COVIDX_NET),
    Row(2, "inception_resnet_v2", "COVIDX-Net, Inception-ResNet-v2", "", _COVIDX_NET),
    Row(2, "xception", "COVIDX-Net, Xception", "", _COVIDX_NET),
    Row(2, "mobilenet_v2", "COVIDX-Net, MobileNetV2", "", _COVIDX_NET),
    Row(3, "covidnet_b", "COVID-Net", "93.3 %", _COVID_NET),
    Row(3, "resnet50", "ResNet-50", "90.6 %", _BASELINES),
    Row(3, "vgg19", "VGG-19", "83.0 %", _BASELINES),
    Row(4, "score", "anomaly detection", "sensitivity 96.0 %, specificity 70.65 %",
        f"{_ZHANG}, version 1", _AT_98),
    Row(4, "confidence", "anomaly detection, CAAD",
        "AUC 83.61 %, sensitivity 71.70 %, other data", f"{_ZHANG}, version 4",
        (SENSITIVITY,)),
    Row(5, "", "CNN+LSTM", "99.4 %", "Islam 2020, IMU 20:100412"),
    Row(6, "", "VGG-16", "about 86 % (the survey prints 90 %)",
        "Civit-Masot 2020, Appl Sci 10(13):4640"),
    Row(7, "", "Xception", "97.41 %", "Das N. N. 2020, IRBM"),
    Row(8, "three", "DarkCovidNet", "87.02 %, mean of 5 folds", _OZTURK),
    Row(8, "two", "DarkCovidNet", "98.08 %, mean of 5 folds", _OZTURK),
    Row(9, "four", "CoroNet", "89.6 %, mean of 4 folds", _CORONET),
    Row(9, "three", "CoroNet", "95 %, mean of 4 folds", _CORONET),
    Row(9, "two", "CoroNet", "99 %, mean of 4 folds", _CORONET),
    Row(10, "squeezenet1_1", "Deep-COVID, SqueezeNet",
        "specificity 92.9 % at sensitivity 98 %", _DEEP_COVID, _AT_98),
    Row(10, "resnet18", "Deep-COVID, ResNet-18",
        "specificity 90.7 % at sensitivity 98 %", _DEEP_COVID, _AT_98),
    Row(10, "resnet50", "Deep-COVID, ResNet-50",
        "specificity 89.6 % at sensitivity 98 %", _DEEP_COVID, _AT_98),
    Row(10, "densenet121", "Deep-COVID, DenseNet-121",
        "specificity 75.1 % at sensitivity 98 %", _DEEP_COVID, _AT_98),
    Row(11, "vgg19", "VGG-19", "93.48 %, first data set", _APOSTOLOPOULOS),
    Row(11, "mobilenet_v2", "MobileNetV2", "94.72 %, second data set",
        _APOSTOLOPOULOS),
    Row(11, "inception_v3", "Inception-v3", "", _APOSTOLOPOULOS),
    Row(11, "xception", "Xception", "", _APOSTOLOPOULOS),
    Row(11, "inception_resnet_v2", "Inception-ResNet-v2", "", _APOSTOLOPOULOS),
    Row(12, "", "Truncated Inception", "99.96 %, mean of 10 folds",
        "Das D. 2020, Phys Eng Sci Med 43:915 (abstract)"),
    Row(13, "", "features, selection, SVM", "99.27 %",
        "Togacar 2020, CBM 121:103805"),
    Row(14, "", "CovidGAN and VGG-16", "95 % (85 % without synthetic pictures)",
        "Waheed 2020, IEEE Access 8:91916 (abstract)"),
    Row(15, "googlenet,four", "DCGAN and GoogLeNet", "80.6 %, four classes", _LOEY),
    Row(15, "googlenet,three", "DCGAN and GoogLeNet", "", _LOEY),
    Row(15, "googlenet,two", "DCGAN and GoogLeNet", "100 %, two classes", _LOEY),
    Row(15, "alexnet,four", "DCGAN and AlexNet", "", _LOEY),
    Row(15, "alexnet,three", "DCGAN and AlexNet", "85.2 %, three classes", _LOEY),
    Row(15, "alexnet,two", "DCGAN and AlexNet", "", _LOEY),
    Row(15, "resnet18,four", "DCGAN and ResNet-18", "", _LOEY),
    Row(15, "resnet18,three", "DCGAN and ResNet-18", "", _LOEY),
    Row(15, "resnet18,two", "DCGAN and ResNet-18", "", _LOEY),
    Row(16, "three", "Convolutional CapsNet", "84.22 %, mean of 10 folds", _TORAMAN),
    Row(16, "two", "Convolutional CapsNet", "97.24 %, mean of 10 folds", _TORAMAN),
    Row(17, "four", "CovXNet, stacked", "90.2 %, four classes, mean of 5 folds",
        _MAHMUD),
    Row(17, "normal", "CovXNet, stacked",
        "97.4 %, COVID-19 against normal, mean of 5 folds", _MAHMUD),
    Row(17, "viral", "CovXNet, stacked",
        "96.9 %, COVID-19 against viral pneumonia, mean of 5 folds", _MAHMUD),
    Row(17, "bacterial", "CovXNet, stacked",
        "94.7 %, COVID-19 against bacterial pneumonia, mean of 5 folds", _MAHMUD),
    Row(18, "patches", "patches, ResNet-18", "88.9 %", "Oh 2020, IEEE TMI 39(8):2688"),
    Row(19, "efficientnet_b4", "EfficientNet-B4", "98.86 %", _RAFI),
    Row(19, "resnet50", "ResNet-50", "", _RAFI),
    Row(19, "densenet121", "DenseNet-121", "", _RAFI),
    Row(20, "flat,early", "features and classifiers", "macro F1 0.65, flat", _PEREIRA,
        (MACRO_F1,)),
    Row(20, "flat,late", "features and classifiers", "", _PEREIRA, (MACRO_F1,)),
    Row(20, "hierarchical,early", "features and classifiers",
        "F1 of COVID-19 0.89, hierarchical", _PEREIRA, (COVID_F1,)),
    Row(20, "hierarchical,late", "features and classifiers", "", _PEREIRA, (COVID_F1,)),
    Row(21, "", "cascade of two VGG-16",
        "96 %, healthy or not; 98 %, COVID-19 or not (measured: the final classes)",
        "Brunese 2020, CMPB 196:105608"),
    Row(22, "densenet201,three", "DenseNet-201", "97.94 %, mean of 5 folds",
        _CHOWDHURY),
    Row(22, "densenet201,two", "DenseNet-201", "99.70 %, mean of 5 folds",
        _CHOWDHURY),
    Row(22, "chexnet,three", "CheXNet", "", _CHOWDHURY),
    Row(22, "chexnet,two", "CheXNet", "99.70 %, mean of 5 folds", _CHOWDHURY),
    Row(22, "squeezenet1_1,three", "SqueezeNet", "", _CHOWDHURY),
    Row(22, "squeezenet1_1,two", "SqueezeNet", "", _CHOWDHURY),
    Row(22, "mobilenet_v2,three", "MobileNetV2", "", _CHOWDHURY),
    Row(22, "mobilenet_v2,two", "MobileNetV2", "", _CHOWDHURY),
    Row(22, "resnet18,three", "ResNet-18", "", _CHOWDHURY),
    Row(22, "resnet18,two", "ResNet-18", "", _CHOWDHURY),
    Row(22, "resnet101,three", "ResNet-101", "", _CHOWDHURY),
    Row(22, "resnet101,two", "ResNet-101", "", _CHOWDHURY),
    Row(22, "inception_v3,three", "Inception-v3", "", _CHOWDHURY),
    Row(22, "inception_v3,two", "Inception-v3", "", _CHOWDHURY),
    Row(22, "vgg19,three", "VGG-19", "", _CHOWDHURY),
    Row(22, "vgg19,two", "VGG-19", "", _CHOWDHURY),
)  # fmt: skip
