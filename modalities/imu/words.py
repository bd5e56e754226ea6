"""The words of which the names of columns are made, in lower case: quantities, and what is no reading."""

from __future__ import annotations

import re

CHANNELS = ("ax", "ay", "az", "gx", "gy", "gz", "mx", "my", "mz")
QUANTITIES = {"a": "acceleration", "g": "angular_velocity", "m": "magnetic_field"}

# Words of a name, in lower case. Single letters stand for a quantity only next to an axis ("a_x", "wx").
WORDS = {
    "a": [
        "a",
        "acc",
        "accs",
        "accel",
        "accl",
        "accelerometer",
        "accelerometers",
        "acceleration",
        "accelerations",
        "accelerate",
    ],
    "g": [
        "g",
        "w",
        "gyr",
        "gyro",
        "gyros",
        "gyroscope",
        "gyroscopes",
        "omega",
        "angvel",
        "angularvelocity",
        "rotationrate",
    ],
    "m": ["m", "mag", "magn", "magneto", "magnetometer", "magnetometers", "magnetic", "magneticfield", "geomagnetic"],
}
PAIRS = {  # two words that mean one quantity
    ("angular", "velocity"): "g", ("angular", "rate"): "g", ("angular", "speed"): "g", ("ang", "vel"): "g",
    ("rotation", "rate"): "g", ("rot", "rate"): "g", ("gyro", "rotation"): "g", ("turn", "rate"): "g",
    ("magnetic", "field"): "m", ("mag", "field"): "m",
}  # fmt: skip
QUANTITY = {word: quantity for quantity, words in WORDS.items() for word in words}
GLUED = re.compile(rf"({'|'.join(sorted(QUANTITY, key=len, reverse=True))})([xyz])")
FREE = {"user", "linear", "lin", "free", "body", "dynamic"}  # acceleration from which gravity has been taken
WHOLE = [("including", "gravity"), ("with", "gravity"), ("incl", "gravity"), ("with", "g"), ("total",)]
WITHOUT = [("without", "gravity"), ("without", "g"), ("no", "gravity"), ("no", "g"), ("excluding", "gravity")]
FUSED = {"motion"}  # a phone's estimate beside the sensor's own reading
FILLERS = {"sensor", "sensors", "data", "value", "values", "calibrated", "cal", "axis", "field", "imu", "reading"}
MAGNITUDES = {"absolute", "abs", "magnitude", "norm", "total", "mag", "svm", "resultant", "vm", "rms"}
SPOILERS = {
    "mean", "std", "var", "variance", "sd", "median", "min", "max", "bias", "offset", "filtered", "filt", "smooth",
    "smoothed", "lowpass", "highpass", "lp", "hp", "pred", "predicted", "prediction", "raw", "uncalibrated",
    "uncal", "cov", "covariance", "error", "err", "delta", "diff", "jerk", "quality", "accuracy", "status", "ref",
    "reference", "gt", "truth", "target", "velocity", "vel", "position", "pos", "pose", "location", "displacement",
    "fft", "energy", "entropy", "gravity", "grav", "orientation", "attitude", "quat", "quaternion", "euler",
    "heading", "setpoint", "noise", "scale", "gain", "lsb", "adc", "count", "counts", "norm", "normalized",
    "normalised", "inc", "increment", "dv", "dq", "derivative", "eye", "gaze", "mouse", "touch", "screen", "joint",
    "wind", "force", "torque", "angle", "angles",
}  # fmt: skip
SKIPPED = {
    "label", "labels", "activity", "activities", "class", "classes", "annotation", "subject", "subjects", "user",
    "userid", "person", "participant", "session", "sessions", "trial", "experiment", "device", "deviceid",
    "identifier", "uuid", "id", "ids", "index", "idx", "unnamed", "row", "rows", "counter", "packetcounter",
    "packet", "seq", "sequence", "frame", "frames", "heart", "hr", "heartrate", "bpm", "ecg", "ppg", "eda", "gsr",
    "bvp", "temp", "temperature", "humidity", "pressure", "baro", "barometer", "altitude", "altimeter", "step",
    "steps", "stepcount", "stepcounter", "pedometer", "battery", "light", "lux", "proximity", "latitude",
    "longitude", "lat", "lon", "lng", "gps", "location", "speed", "course", "orientation", "quaternion", "quat",
    "roll", "pitch", "yaw", "attitude", "euler", "heading", "azimuth", "gravity", "grav", "covariance", "status",
    "statusword", "accuracy", "calibration", "rssi", "filename", "split", "fold", "year", "month", "day", "hour",
    "minute", "weekday", "magnitude", "audio", "header", "loggingsample", "ori", "dq", "dv", "velinc", "oriinc",
}  # fmt: skip
SKIPPED_NAMES = re.compile(r"q[0-3wxyz]|qw|activityid|subjectid|sessionid|utc_?nano|mat\d*|sample|exp|wp|clip\w*")
UNIT_SUFFIXES = {
    "a": ["g", "mg", "ms2", "mps2", "ms-2"],
    "g": ["dps", "degs", "rads", "deg", "rad", "radps", "degps", "degsec", "radsec", "mdps", "rpm"],
    "m": ["ut", "nt", "mt", "gauss", "mgauss"],
}
