package org.pytorch.executorch;

/** Signatures of ExecuTorch 1.x's Android library, for compiling only. */
public class EValue {
  public static EValue from(Tensor tensor) {
    throw new UnsupportedOperationException();
  }

  public Tensor toTensor() {
    throw new UnsupportedOperationException();
  }
}
