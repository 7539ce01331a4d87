package org.tensorflow.lite;

/** Signatures of LiteRT's interpreter for Android, for compiling only. */
public interface Tensor {
  class QuantizationParams {
    private final float scale;
    private final int zeroPoint;

    public QuantizationParams(float scale, int zeroPoint) {
      this.scale = scale;
      this.zeroPoint = zeroPoint;
    }

    public float getScale() {
      return scale;
    }

    public int getZeroPoint() {
      return zeroPoint;
    }
  }

  QuantizationParams quantizationParams();

  int numBytes();
}
