package org.tensorflow.lite;

/** Signatures of LiteRT's interpreter for Android, for compiling only. */
public interface Delegate extends AutoCloseable {
  long getNativeHandle();

  @Override
  default void close() {}
}
